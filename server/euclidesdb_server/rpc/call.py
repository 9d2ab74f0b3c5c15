"""RpcCall: the deadline and cancellation of a call, as the database needs them, and its parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import grpc

from euclidesdb_server.rpc.caller import UNKNOWN, Caller
from euclidesdb_server.rpc.request_ids import new_id

FOREVER: Final = 365 * 86400.0
"""Seconds. A deadline that is farther away counts as none."""


class Part:
    """Work of one kind for a call. begun, ended: of the first and the last, by `time.monotonic`.

    seconds: of all together, which may be more than the time in between. count: how often.
    """

    __slots__ = ("begun", "count", "ended", "seconds")

    def __init__(self, begun: float, ended: float) -> None:
        self.begun, self.ended = begun, ended
        self.seconds = ended - begun
        self.count = 1

    def add(self, begun: float, ended: float) -> None:
        """Once more."""
        self.begun, self.ended = min(self.begun, begun), max(self.ended, ended)
        self.seconds += ended - begun
        self.count += 1


class RpcCall:
    """The `Call` of a remote caller. Thread-safe.

    begun: by `time.monotonic`. status: how it ends; the transport sets it before `end`, and the
    sizes. given_id: the request id that its caller has sent, or "". parts: what it did, by name.
    traceparent: the caller's trace, if it has one. is_traced: whether quick parts are noted, too.
    check: raises Unauthenticated or RoleRequired if its caller may no longer make it.
    """

    status = grpc.StatusCode.CANCELLED
    is_traced = False
    request_bytes = 0
    reply_bytes = 0
    given_id = ""
    traceparent = ""
    _made_id = ""

    def __init__(self, time_remaining: float | None, caller: Caller | None = None) -> None:
        """time_remaining: seconds until the caller's deadline; None: it has none."""
        self.parts: dict[str, Part] = {}
        self.check: Callable[[], object] = _permitted
        self.caller = caller or Caller(UNKNOWN)
        has_deadline = time_remaining is not None and time_remaining < FOREVER
        self._deadline = time.monotonic() + (time_remaining or 0.0) if has_deadline else None
        self.begun = time.monotonic()
        self._watch: Callable[[RpcCall], None] | None = None
        self._lock = threading.Lock()
        self._ended = False
        self._callbacks: list[Callable[[], object]] = []

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def is_active(self) -> bool:
        """Whether the caller still waits: it has not left, and its deadline has not passed."""
        if self._ended:
            return False
        return self._deadline is None or time.monotonic() < self._deadline

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the call ends, for whatever reason; at once if it has ended."""
        with self._lock:
            if not self._ended:
                self._callbacks.append(callback)
                return
        callback()

    @property
    def request_id(self) -> str:
        """By which it is found in logs: the caller's, or one that is made."""
        if self.given_id:
            return self.given_id
        if not self._made_id:
            self._made_id = new_id()
        return self._made_id

    def note(self, part: str, begun: float, ended: float) -> None:
        """As `Call.note`."""
        known = self.parts.get(part)
        if known is None:
            self.parts[part] = Part(begun, ended)
        else:
            known.add(begun, ended)

    def watch(self, ended: Callable[[RpcCall], None]) -> None:
        """Have `ended` called once, at the end."""
        self._watch = ended

    def end(self, status: grpc.StatusCode | None = None) -> None:
        """The call is answered, or its caller has left. Idempotent.

        status: None: as it was set.
        """
        with self._lock:
            if not self._ended and status is not None:
                self.status = status
            self._ended = True
            callbacks, self._callbacks = self._callbacks, []
            watch, self._watch = self._watch, None
        try:
            if watch is not None:
                watch(self)
        finally:
            for callback in callbacks:
                callback()


def _permitted() -> None:
    """The `check` of a call that is not checked again."""
