"""A gRPC call's patience, as the database asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import grpc

FOREVER: Final = 365 * 86400.0
"""Seconds: gRPC gives a caller that set no deadline one too far off to be waited for."""


class GrpcCall:
    """The `Call` of a gRPC context."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline; None where it set none."""
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None or remaining > FOREVER else remaining

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call back when the call ends, in whatever way; at once where it has."""
        if not self._context.add_callback(cast(Callable[[], None], callback)):
            callback()
