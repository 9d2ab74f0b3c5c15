"""Failure: why a model has no features of an item."""

from __future__ import annotations

import time
from typing import Final

import msgspec

MAX_MESSAGE_BYTES: Final = 1000


class Failure(msgspec.Struct, frozen=True):
    """A model version failed on an item.

    reason: the value of a `FailureReason`. message: valid UTF-8, at most MAX_MESSAGE_BYTES of it.
    time: when it failed, in milliseconds since 1970.
    """

    reason: str
    message: str
    time: int

    @classmethod
    def now(cls, reason: str, message: str) -> Failure:
        """A failure as of now; a message that is too long is cut."""
        # a model's own message may have half of a surrogate pair
        encoded = message.encode(errors="replace")[:MAX_MESSAGE_BYTES]
        return cls(reason, encoded.decode(errors="ignore"), time.time_ns() // 1_000_000)

    def repeats(self, other: Failure) -> bool:
        """Whether it differs from another one in its time alone."""
        return (self.reason, self.message) == (other.reason, other.message)
