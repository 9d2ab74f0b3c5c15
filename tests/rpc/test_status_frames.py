"""What a failed call held is let go with it, without waiting for the garbage collector."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator

import pytest

from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.status import Failure


class Request:
    """Large, in real life."""


@pytest.fixture(autouse=True)
def nothing_else_decides() -> Iterator[None]:
    """No collection of garbage; and no log, whose records pytest keeps."""
    gc.disable()
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    gc.enable()


def refuse(request: Request) -> None:  # noqa: ARG001  the frame refers to it
    error = InvalidRequest("it is odd")
    raise error


def fail(request: Request) -> None:  # noqa: ARG001
    error = ZeroDivisionError("a fault of ours")
    raise error


def refuse_because_of_another(request: Request) -> None:
    try:
        refuse(request)
    except InvalidRequest as error:
        raise InvalidRequest("it is odd") from error


@pytest.mark.parametrize("handle", [refuse, fail, refuse_because_of_another])
def test_a_request_goes_with_the_failure_of_its_call(handle):
    request = Request()
    kept = weakref.ref(request)
    try:
        handle(request)
    except Exception as error:
        failure = Failure.of_call(error, "/Service/Method")
    del request
    assert failure.details in ("it is odd", "internal error")
    assert kept() is None
