"""ErrorInterceptor: the one place where the exceptions of a call become its status.

A database error becomes its status with its message, and its `reason` in the trailing metadata.
Any other exception is a bug: the caller gets INTERNAL "internal error", our log the traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc

from euclidesdb_protos.v1.wire import REASON_KEY
from euclidesdb_server.errors import DatabaseError, InvalidRequest, ModelUnavailable
from euclidesdb_server.rpc.status import details_of, status_of

DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""Tells a client's retry policy not to retry: a quarantined model stays so for now."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Takes the place of a request that could not be parsed."""

    error: Exception


class ErrorInterceptor(grpc.ServerInterceptor):
    """For a server whose calls are all unary."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of the call, if there is one."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        serve, parse = handler.unary_unary, handler.request_deserializer

        def parse_or_note(data: bytes) -> Any:
            try:
                return data if parse is None else parse(data)
            except Exception as error:  # DecodeError or anything else: the bytes come from outside
                return _Unreadable(error)

        def serve_or_abort(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                if isinstance(request, _Unreadable):
                    raise InvalidRequest(f"the request cannot be parsed: {request.error}")
                return serve(request, context)
            except DatabaseError as error:
                _abort(context, error)
            except Exception:  # the outermost frame of our code in this thread
                if not context.is_active():
                    raise  # the call is over: grpc ends its thread this way
                log.exception("a call to %s failed", handler_call_details.method)
                context.abort(grpc.StatusCode.INTERNAL, "internal error")

        return grpc.unary_unary_rpc_method_handler(
            serve_or_abort, parse_or_note, handler.response_serializer
        )


def _abort(context: grpc.ServicerContext, error: DatabaseError) -> NoReturn:
    code = status_of(error)
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS):
        log.error("%s: %s", error.reason, error)
    final = (DO_NOT_RETRY,) if isinstance(error, ModelUnavailable) else ()
    context.set_trailing_metadata(((REASON_KEY, error.reason), *final))
    context.abort(code, details_of(error))
