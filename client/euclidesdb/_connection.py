"""Calls over one channel: each has a timeout, and raises errors of the client's own tree."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, cast

import grpc

from euclidesdb._channel import open_channel
from euclidesdb._credentials import Credentials
from euclidesdb._errors import ClientClosed, EuclidesDBError
from euclidesdb._translation import translated
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc

_Reply = TypeVar("_Reply")

BULK_TIMEOUT_FACTOR: Final = 10.0
"""A bulk call does the work of many; its default timeout is this many times the client's."""
MAX_TIMEOUT: Final = 1e9
"""Seconds, 32 years, from which on a timeout is not a limit: gRPC fails with one of 9e9 at once."""


class StartedCall(Protocol):
    """The methods of grpc.Future that are used."""

    def result(self) -> Any: ...
    def cancel(self) -> bool: ...


class StartedStream(Protocol):
    """The methods of a call that streams its replies that are used."""

    def __next__(self) -> Any: ...
    def cancel(self) -> bool: ...
    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...


class Connection:
    """The channel to one server, and whether it has been closed. Threads may share it.

    timeout: seconds that a call may take unless it has its own timeout; None: no limit.
    """

    def __init__(self, target: str, timeout: float | None, credentials: Credentials) -> None:
        self.target = target
        self.credentials = credentials
        self._metadata = credentials.metadata
        self.timeout = _seconds(timeout)
        self._closed = False
        self._channel, self._proxy = open_channel(target, credentials)
        self.stub: Any = cast("Any", pb_grpc.FeatureDatabaseStub)(self._channel)

    def close(self) -> None:
        """End the calls in progress and the connection. May be called again."""
        self._closed = True
        self._channel.close()

    def check_open(self) -> None:
        """Raise ClientClosed if `close` has been called."""
        if self._closed:
            raise _not_sent()

    def call_timeout(self, timeout: float | None) -> float | None:
        """The seconds that a call may take; None: no limit. timeout: None: the client's."""
        return self.timeout if timeout is None else _seconds(timeout)

    def bulk_timeout(self, timeout: float | None) -> float | None:
        """As `call_timeout`, for a bulk call."""
        if timeout is not None:
            return _seconds(timeout)
        return None if self.timeout is None else _seconds(BULK_TIMEOUT_FACTOR * self.timeout)

    def call(
        self,
        method: Callable[..., _Reply],
        request: object,
        timeout: float | None,
        *,
        file: str = "",
    ) -> _Reply:
        """Make one call of at most `timeout` seconds, retries included.

        file: the name of the image file in the request, for errors about what it contains.
        """
        self.check_open()
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise translated(error, closed=self._closed, proxy=self._proxy, file=file) from error
        except ValueError as error:
            raise self._closed_meanwhile(error) from error

    def start(self, method: Any, request: object, timeout: float | None) -> StartedCall:
        """Begin a call of at most `timeout` seconds; `finish` waits for its reply."""
        self.check_open()
        try:
            started: StartedCall = method.future(request, timeout=timeout, metadata=self._metadata)
        except ValueError as error:
            raise self._closed_meanwhile(error) from error
        return started

    def start_stream(self, method: Any, requests: object, timeout: float | None) -> StartedStream:
        """Begin a call that streams its replies; see `failure` for what it raises.

        requests: an iterator of them if it streams these, too; otherwise the request.
        """
        self.check_open()
        try:
            started: StartedStream = method(requests, timeout=timeout, metadata=self._metadata)
        except ValueError as error:
            raise self._closed_meanwhile(error) from error
        return started

    def failure(self, error: grpc.RpcError) -> EuclidesDBError:
        """The client's own error for one that a call raised."""
        return translated(error, closed=self._closed, proxy=self._proxy)

    def finish(self, started: StartedCall) -> Any:
        """Wait for the reply to a call that `start` began."""
        try:
            return started.result()
        except grpc.RpcError as error:
            raise self.failure(error) from error

    def _closed_meanwhile(self, error: ValueError) -> Exception:
        """The error to raise for a ValueError of gRPC."""
        # gRPC raises it for a channel that another thread has just closed
        return _not_sent() if self._closed else error


def _not_sent() -> ClientClosed:
    return ClientClosed("this client is closed; open another", reason="client_closed")


def _seconds(timeout: float | None) -> float | None:
    """`timeout` as gRPC takes it; None: no limit."""
    if timeout is None:
        return None
    if not isinstance(timeout, numbers.Real) or isinstance(timeout, bool):
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}: "
            f"{timeout!r}"
        )
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds or None, not {timeout!r}")
    return float(timeout) if timeout < MAX_TIMEOUT else None
