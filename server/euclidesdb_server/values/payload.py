"""Payload: a raw item as a client sent it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property


# Not slotted: the digest is kept in the instance.
@dataclass(frozen=True)
class Payload:
    """A raw item and its kind of input.

    data: for an `image` the bytes of the file as the client sent them; for a `text` its UTF-8; for
    a `tensor` NumPy's .npy format, little-endian and in C order.
    """

    kind: str
    data: bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the kind, a zero byte and the data: 32 bytes. Computed once.

        Stored with the item (FORMAT.md), so the definition never changes.
        """
        digest = hashlib.sha256(self.kind.encode() + b"\0")
        digest.update(self.data)
        return digest.digest()
