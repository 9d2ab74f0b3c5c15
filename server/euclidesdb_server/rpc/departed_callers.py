"""Callers that leave while gRPC sends them their reply: the end of a call, and not an error.

gRPC learns in two ways that a caller has left: it reports the end of the call, and what it sends
fails. If the failure comes first, gRPC logs it with a traceback, or leaves it in a task whose
exception asyncio logs. Neither tells an operator anything, and a busy server would log many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc.aio

GRPC_LOGGER: Final = "grpc._cython.cygrpc"

log = logging.getLogger(__name__)


@contextmanager
def ending_with_the_call() -> Iterator[None]:
    """End a call whose caller has left, or that gRPC has ended, as one that was cancelled.

    The block uses nothing of gRPC but the context of the call.
    """
    try:
        yield
    except grpc.aio.AbortError:  # by which gRPC ends a call that we abort
        raise
    except grpc.aio.BaseError as error:
        log.debug("a call was over before its reply was sent: %s", error)
        raise asyncio.CancelledError from error


class _UnsentReplies(logging.Filter):
    """Leaves out what gRPC logs of replies that it could not send."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a failure to send."""
        return not (record.exc_info and _is_unsent(record.exc_info[1]))


UNSENT_REPLIES: Final = _UnsentReplies()


def leave_out_departed_callers(loop: asyncio.AbstractEventLoop) -> None:
    """Log nothing of replies that could not be sent, be it by gRPC or by the event loop."""
    logging.getLogger(GRPC_LOGGER).addFilter(UNSENT_REPLIES)
    loop.set_exception_handler(_handle)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report an exception that no task handled, unless it is of that kind."""
    if not _is_unsent(context.get("exception")):
        loop.default_exception_handler(context)


def _is_unsent(error: BaseException | None) -> bool:
    # ExecuteBatchError is a kind of InternalError, and has no public name
    return isinstance(error, grpc.aio.InternalError | grpc.aio.UsageError)
