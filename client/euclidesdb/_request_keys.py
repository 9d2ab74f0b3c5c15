"""The key of a request that writes: with it, gRPC may repeat the request after a lost reply."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Final

from euclidesdb import _checks as checks

KEY_BYTES: Final = 16
MIN_KEY_BYTES: Final = 8
MAX_KEY_BYTES: Final = 64


def request_key_of(given: bytes | None) -> bytes:
    """The key that a caller has given, or a new one that no other request has.

    Raises TypeError or ValueError for one that the server would refuse.
    """
    if given is None:
        return os.urandom(KEY_BYTES)
    key = checks.opaque("request_key", given)
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(
            f"request_key must be {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes, not {len(key)}"
        )
    return key


def part_key(key: bytes, start: int) -> bytes:
    """The key of one of several calls, from that of all of them: the same when it is repeated."""
    return blake2b(start.to_bytes(8, "little"), key=key, digest_size=KEY_BYTES).digest()
