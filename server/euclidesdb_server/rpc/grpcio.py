"""GrpcioListener: gRPC by grpcio, which is always there.

It runs on the event loop. A call is admitted when its message is there; until then it holds no
thread, but gRPC keeps what has arrived of the message.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NoReturn, TypeVar

import grpc
import grpc.aio

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.errors import ConfigError, DatabaseError, InvalidRequest
from euclidesdb_server.monitoring.stats import Traffic
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.call_measures import CallMeasures, CallObserver
from euclidesdb_server.rpc.caller import Caller, host_of
from euclidesdb_server.rpc.departed_callers import ending_with_the_call
from euclidesdb_server.rpc.event_loop import run
from euclidesdb_server.rpc.grpcio_stream_call import Context, GrpcioStreamCall, new_call
from euclidesdb_server.rpc.listening import WHERE, check_address, listen_address
from euclidesdb_server.rpc.methods import OPEN_BYTES, Method
from euclidesdb_server.rpc.status import Failure, check_length, late_message

MAX_PENDING_CALLS: Final = 1 << 20
"""Calls that gRPC may hold until the event loop takes them, in a moment; then our limits count."""
PING_INTERVAL_MS: Final = 5000
"""A client may ping that often, with or without calls."""
KEEPALIVE_MS: Final = 60_000
KEEPALIVE_TIMEOUT_MS: Final = 20_000
"""A connection on which nothing arrives is pinged; without an answer, its calls are over."""
HANDSHAKE_TIMEOUT_MS: Final = 10_000
"""A client that connects must have begun by then, with TLS and HTTP/2."""

STREAM_END_SECONDS: Final = 0.5
"""When the server stops, streams past their grace period have this to send their status."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class GrpcioListener:
    """A gRPC server of some methods, from construction until `close`.

    address: what it listens on; with the actual port. measures: of its calls.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        config: ServerConfig,
        access: Access | None = None,
        certificates: Certificates | None = None,
        *,
        observers: Sequence[CallObserver] = (),
        where: str = WHERE,
    ) -> None:
        """Start listening. The others: as in `listen`. Raises ConfigError."""
        self._access = access or Access()
        self._certificates = certificates
        self._where = where
        self._grace = config.shutdown_grace
        self._message_timeout = config.message_timeout
        methods = [*methods]
        self.measures = CallMeasures(methods, observers)
        self._answerer = Answerer(config, self.measures)
        self._access.on_change(self._answerer.open_streams.recheck_soon)
        self._streams: set[asyncio.Task[None]] = set()
        self.address = run(self._start(methods, config))

    def traffic(self) -> Traffic:
        """What is being answered now."""
        return self._answerer.traffic(connections=None)

    def close(self) -> None:
        """Refuse new calls with UNAVAILABLE; running ones get `shutdown_grace` s to finish."""
        log.info("stopping: running calls have %g s to finish", self._grace)
        run(self._stop())
        self._answerer.close()

    async def _start(self, methods: Iterable[Method], config: ServerConfig) -> str:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # otherwise two servers could share a port, and its calls
                ("grpc.so_reuseport", 0),
                # otherwise gRPC cancels calls of a burst, without a reason, before we see them
                ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
                ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
            ]
        )
        self._server.add_generic_rpc_handlers(
            (_Handlers(methods, self._serve, self._serve_stream),)
        )
        address = self._bind(config.address)
        await self._server.start()
        return address

    async def _serve(self, method: Method, context: Context) -> bytes:
        caller = await self._admitted(method, context)  # before its message is read
        call = new_call(context, caller)
        self._answerer.measures.begun(method, call)
        try:
            with ending_with_the_call():
                data = await self._message(context)
            if method.is_open:
                check_length(data, OPEN_BYTES)
            reply = await self._answerer.answer(method, data, call)
            call.status, call.reply_bytes = grpc.StatusCode.OK, len(reply)
            return reply
        except Exception as error:  # the outermost frame of our code in this call
            failure = Failure.of_call(error, method.path, call.request_id)
            call.status = failure.code
        finally:
            call.end()
        return await _abort(context, failure)

    async def _serve_stream(self, method: Method, context: Context) -> None:
        caller = await self._admitted(method, context)
        given = new_call(context, caller)
        given.check = functools.partial(self._caller, method, context)
        call = GrpcioStreamCall(self._answerer, method, context, given, self._message_timeout)
        failure = await call.serve(self._streams)
        if failure is not None:
            await _abort(context, failure)

    async def _admitted(self, method: Method, context: Context) -> Caller:
        """Who makes a call; ends it if it may not be made."""
        try:
            return self._caller(method, context)
        except DatabaseError as error:
            failure = Failure.of(error)
        self._answerer.measures.refused(method, failure.code)
        return await _abort(context, failure)

    def _caller(self, method: Method, context: Context) -> Caller:
        """Who makes a call. Raises Unauthenticated, RoleRequired."""
        authorization = None
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                authorization = value.encode() if isinstance(value, str) else value
                break
        return self._access.admit(method.path, authorization, host_of(context.peer()))

    async def _stop(self) -> None:
        if not self._streams:
            await self._server.stop(self._grace)
            return
        # gRPC would cancel streams, without a status
        stopped = asyncio.create_task(self._server.stop(self._grace + STREAM_END_SECONDS))
        await asyncio.wait((stopped,), timeout=self._grace)
        for stream in [*self._streams]:
            stream.cancel()
        await stopped

    async def _message(self, context: Context) -> bytes:
        try:
            async with asyncio.timeout(self._message_timeout):
                data = await context.read()
        except TimeoutError as error:
            raise late_message(self._message_timeout) from error
        if not isinstance(data, bytes):
            raise InvalidRequest("the call ended without a message")
        return data

    def _bind(self, address: str) -> str:
        address = listen_address(address, self._where)
        check_address(address, self._where)  # again: models have been loaded since the start
        try:
            if self._certificates is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _credentials(self._certificates))
        except RuntimeError as error:
            raise ConfigError(f"{self._where}: cannot listen on {address!r}: {error}") from error
        if address.startswith("unix:"):
            return address
        return f"{address.rpartition(':')[0]}:{port}"


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Those of the present certificate, which gRPC asks for at each handshake."""
    given = certificates.identity

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(given.key, given.cert)], root_certificates=given.client_ca
        )

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if certificates.identity is given:
            return None
        given = certificates.identity
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        changed,  # type: ignore[arg-type]  # None: as before
        require_client_authentication=given.client_ca is not None,
    )


class _Handlers(grpc.GenericRpcHandler):
    """Hands the bytes of each call to `serve`, or to `serve_stream` if its method streams.

    On the wire a unary call looks like one with a stream of one message. As such gRPC hands it over
    before its message is there, and how long to wait for that is for us to say.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        serve: Callable[[Method, Context], Awaitable[bytes]],
        serve_stream: Callable[[Method, Context], Awaitable[None]],
    ) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            method.path: grpc.stream_unary_rpc_method_handler(_handler(serve, method))
            if method.is_unary
            else grpc.stream_stream_rpc_method_handler(_handler(serve_stream, method))
            for method in methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None if there is none of that name."""
        return self._handlers.get(details.method)


def _handler(
    serve: Callable[[Method, Context], Awaitable[T]], method: Method
) -> Callable[[object, Context], Awaitable[T]]:
    async def handle(_: object, context: Context) -> T:
        return await serve(method, context)

    return handle


async def _abort(context: Context, failure: Failure) -> NoReturn:
    """End a call; raises gRPC's own error for that."""
    with ending_with_the_call():
        await context.abort(failure.code, failure.details, failure.trailing_metadata)
    raise AssertionError("abort raises")
