"""GrpcCall: the deadline and cancellation of a gRPC call, as the database needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import grpc

FOREVER: Final = 365 * 86400.0
"""Seconds. If a caller sets no deadline, gRPC reports one that is farther away than this."""


class GrpcCall:
    """The `Call` of a gRPC context."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None or remaining > FOREVER else remaining

    def is_active(self) -> bool:
        """Whether the caller still waits: it has not left, and its deadline has not passed."""
        # gRPC notices a deadline when its own thread runs next, which a busy server delays
        return bool(self._context.is_active()) and self.time_remaining() != 0

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the call ends, for whatever reason; at once if it has ended."""
        if not self._context.add_callback(cast(Callable[[], None], callback)):
            callback()
