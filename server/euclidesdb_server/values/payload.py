"""Payload: a raw item as a client sent it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Payload:
    """A raw item, and the kind of input it is.

    data: of an `image` the bytes as the client sent them, of a `text` its UTF-8, of a `tensor`
    NumPy's .npy format, little-endian and in C order.
    """

    kind: str
    data: bytes

    def digest(self) -> bytes:
        """What no other item shares: 32 bytes."""
        return hashlib.sha256(self.kind.encode() + b"\0" + self.data).digest()
