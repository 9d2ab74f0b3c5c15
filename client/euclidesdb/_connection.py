"""Calls over one channel: each has its deadline, and raises errors of the client's own tree."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import grpc

from euclidesdb._channel import open_channel
from euclidesdb._errors import ClientClosed, translated
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc

_Reply = TypeVar("_Reply")

MANY: float = 10
"""A call that does the work of many may take this many times the client's timeout."""


class StartedCall(Protocol):
    """What is used of grpc.Future."""

    def result(self) -> Any: ...
    def cancel(self) -> bool: ...


class Connection:
    """The channel to one server, and whether it has been closed. Threads may share it."""

    def __init__(self, target: str, timeout: float | None) -> None:
        self._timeout = _seconds(timeout)
        self._closed = False
        self._channel = open_channel(target)
        self.stub: Any = cast("Any", pb_grpc.FeatureDatabaseStub)(self._channel)

    def close(self) -> None:
        """End the calls in progress and the connection. May be called again."""
        self._closed = True
        self._channel.close()

    def check_open(self) -> None:
        """Raise ClientClosed where `close` has been called."""
        if self._closed:
            raise _not_sent()

    def until(self, timeout: float | None) -> float | None:
        """When on the monotonic clock a call that begins now is over; None: never."""
        return from_now(self._timeout if timeout is None else _seconds(timeout))

    def seconds_for_many(self, timeout: float | None) -> float | None:
        """How long each call of many items may take; None: as long as it takes."""
        if timeout is not None:
            return _seconds(timeout)
        return None if self._timeout is None else MANY * self._timeout

    def call(self, method: Callable[..., _Reply], request: object, until: float | None) -> _Reply:
        """Make one call, which ends at `until` on the monotonic clock."""
        # Negative where the calls before this one used it up: gRPC then ends this one at once.
        timeout = None if until is None else until - time.monotonic()
        self.check_open()
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise translated(error, closed=self._closed) from error
        except ValueError as error:
            raise self._closed_meanwhile(error) from error

    def start(self, method: Any, request: object, timeout: float | None) -> StartedCall:
        """Begin a call of at most `timeout` seconds, whose reply `finish` waits for."""
        self.check_open()
        try:
            started: StartedCall = method.future(request, timeout=timeout)
        except ValueError as error:
            raise self._closed_meanwhile(error) from error
        return started

    def finish(self, started: StartedCall) -> Any:
        """Wait for the reply of a call that `start` began."""
        try:
            return started.result()
        except grpc.RpcError as error:
            raise translated(error, closed=self._closed) from error

    def _closed_meanwhile(self, error: ValueError) -> Exception:
        """What is to be raised for a ValueError of gRPC."""
        # its word for a channel that another thread has closed just now
        return _not_sent() if self._closed else error


def from_now(seconds: float | None) -> float | None:
    """When on the monotonic clock so many seconds have passed; None: never."""
    return None if seconds is None else time.monotonic() + seconds


def _not_sent() -> ClientClosed:
    return ClientClosed("this client is closed; open another", reason="client_closed")


def _seconds(timeout: float | None) -> float | None:
    if timeout is None or timeout == math.inf:
        return None
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds or None, not {timeout!r}")
    return timeout
