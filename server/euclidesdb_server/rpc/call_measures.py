"""CallMeasures: the calls of each method by status, and how long they took.

For the event loop's thread, on which every call begins and ends; others may read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import grpc

from euclidesdb_server.monitoring.stats import CallStats
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.system.measures import SECONDS, Distribution


class CallObserver(Protocol):
    """What is to know of calls. Called on the event loop; quick, and never raises."""

    def begun(self, method: Method, call: RpcCall) -> None:
        """A call has begun."""

    def ended(self, method: Method, call: RpcCall, seconds: float) -> None:
        """It has ended after so many seconds."""


class MethodMeasures:
    """The calls of one method; None: of none that exists."""

    __slots__ = ("_by_status", "_method", "_observers", "_seconds")

    def __init__(self, method: Method | None, observers: Sequence[CallObserver] = ()) -> None:
        self._method = method
        self._observers = observers
        self._by_status: dict[grpc.StatusCode, int] = {}
        self._seconds = Distribution(SECONDS)

    def ended(self, call: RpcCall) -> None:
        """Count a call that has ended."""
        self._by_status[call.status] = self._by_status.get(call.status, 0) + 1
        seconds = time.monotonic() - call.begun
        self._seconds.add(seconds)
        if self._method is not None:
            for observer in self._observers:
                observer.ended(self._method, call, seconds)

    def refused(self, status: grpc.StatusCode) -> None:
        """Count a call that never began."""
        self._by_status[status] = self._by_status.get(status, 0) + 1

    def read(self) -> CallStats | None:
        """The numbers now; None if there was no call."""
        by_status = {status.name: count for status, count in [*self._by_status.items()]}
        method = "unknown" if self._method is None else self._method.path
        return CallStats(method, by_status, self._seconds.read()) if by_status else None


class CallMeasures:
    """Those of a server. Calls of methods that do not exist count together, as "unknown"."""

    def __init__(self, methods: Iterable[Method], observers: Sequence[CallObserver] = ()) -> None:
        self._observers = observers
        self._methods = {method.path: MethodMeasures(method, observers) for method in methods}
        self._unknown = MethodMeasures(None)

    def begun(self, method: Method, call: RpcCall) -> None:
        """Count a call when it ends."""
        call.watch(self._methods[method.path].ended)
        for observer in self._observers:
            observer.begun(method, call)

    def refused(self, method: Method | None, status: grpc.StatusCode) -> None:
        """Count a call that was refused before it began."""
        measures = self._unknown if method is None else self._methods[method.path]
        measures.refused(status)

    def read(self) -> tuple[CallStats, ...]:
        """Those of the methods that have been called."""
        read = (each.read() for each in (*self._methods.values(), self._unknown))
        return tuple(each for each in read if each is not None)
