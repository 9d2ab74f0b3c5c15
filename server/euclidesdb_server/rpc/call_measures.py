"""CallMeasures: the calls of each method by status, and how long they took.

For the event loop's thread, on which every call begins and ends; others may read.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import grpc

from euclidesdb_server.monitoring.stats import CallStats
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.system.measures import SECONDS, Histogram

_OK: Final = grpc.StatusCode.OK  # once: an enumeration looks its members up slowly


class CallObserver(Protocol):
    """What is to know of calls. Called on the event loop; quick, and never raises.

    needs_begin: whether `begun` does anything.
    """

    needs_begin: bool

    def begun(self, method: Method, call: RpcCall) -> None:
        """A call has begun."""

    def ended(self, method: Method, call: RpcCall, seconds: float) -> None:
        """It has ended after so many seconds."""


class MethodMeasures:
    """The calls of one method; None: of none that exists."""

    __slots__ = ("_by_status", "_counts", "_method", "_observers", "_ok", "_total")

    def __init__(self, method: Method | None, observers: Sequence[CallObserver] = ()) -> None:
        self._method = method
        self._observers = observers
        self._ok = 0  # apart: the hash of a status takes as long as all the rest
        self._by_status: dict[grpc.StatusCode, int] = {}
        # not a Distribution, whose lock takes a third of all this
        self._counts = [0] * (len(SECONDS) + 1)
        self._total = 0.0

    def ended(self, call: RpcCall) -> None:
        """Count a call that has ended."""
        if call.status is _OK:
            self._ok += 1
        else:
            self.refused(call.status)
        seconds = time.monotonic() - call.begun
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._total += seconds
        if self._method is not None:
            for observer in self._observers:
                observer.ended(self._method, call, seconds)

    def refused(self, status: grpc.StatusCode) -> None:
        """Count a call that failed, or never began."""
        self._by_status[status] = self._by_status.get(status, 0) + 1

    def read(self) -> CallStats | None:
        """The numbers now; None if there was no call."""
        by_status = {"OK": self._ok} if self._ok else {}
        by_status |= {status.name: count for status, count in [*self._by_status.items()]}
        method = "unknown" if self._method is None else self._method.path
        spent = Histogram(SECONDS, tuple(self._counts), self._total)
        return CallStats(method, by_status, spent) if by_status else None


class CallMeasures:
    """Those of a server. Calls of methods that do not exist count together, as "unknown"."""

    def __init__(self, methods: Iterable[Method], observers: Sequence[CallObserver] = ()) -> None:
        self._observers = tuple(each for each in observers if each.needs_begin)
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
