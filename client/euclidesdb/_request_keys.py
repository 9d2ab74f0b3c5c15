"""The key of a request that writes: with it, gRPC may repeat the request after a lost reply."""

from __future__ import annotations

import os
from typing import Final

KEY_BYTES: Final = 16


def new_request_key() -> bytes:
    """A key that no other request has."""
    return os.urandom(KEY_BYTES)
