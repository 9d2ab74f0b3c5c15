"""ErrorInterceptor: the one place where what a call raises becomes what its caller gets.

A database error becomes its status with its message, its `reason` in the trailing metadata.
Anything else is our fault: the caller gets INTERNAL "internal error", our log the traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc

from euclidesdb_server.errors import DatabaseError, InvalidRequest, ModelUnavailable
from euclidesdb_server.rpc.status import REASON_KEY, details_of, status_of

DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""gRPC's own word to a client's retry policy: a model in quarantine stays there for now."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands in for a request that could not be parsed."""

    error: Exception


class ErrorInterceptor(grpc.ServerInterceptor):
    """For a server whose calls are all unary."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of the call, where there is one."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        serve, parse = handler.unary_unary, handler.request_deserializer

        def parse_or_note(data: bytes) -> Any:
            try:
                return data if parse is None else parse(data)
            except Exception as error:  # protobuf's DecodeError, or worse: the bytes are foreign
                return _Unreadable(error)

        def serve_or_abort(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                if isinstance(request, _Unreadable):
                    raise InvalidRequest(f"the request cannot be parsed: {request.error}")
                return serve(request, context)
            except DatabaseError as error:
                _abort(context, error)
            except Exception:  # the outermost frame of ours in this thread
                if not context.is_active():
                    raise  # the call is over: grpc's own way of ending its thread
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
