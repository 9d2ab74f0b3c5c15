"""The share of a limited memory that requests may take, so that many large ones are refused.

Without it, a container with less memory than `[server] max_bytes_in_flight` would be killed by
clients that stay within the limits.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from euclidesdb_server.config.server import MIB, ServerConfig

RESERVED: Final = 256 * MIB
"""For the server itself, what it is about to write, and the worker of a small model."""
SHARE: Final = 8
"""An eighth of the rest: the bytes of a request are there up to five times while it is served, and
replies may take as much."""
LEAST: Final = 32
"""A 32nd of the whole, where that is more."""

log = logging.getLogger(__name__)


def within_memory(config: ServerConfig, limit: int | None) -> ServerConfig:
    """`config` with `max_bytes_in_flight` lowered to its share of `limit` bytes, if it is above.

    limit: None if there is none.
    """
    if limit is None or config.max_bytes_in_flight <= (share := _share(limit)):
        return config
    log.info(
        "[server] max_bytes_in_flight is lowered to %d, as this server may use %d MiB of memory",
        share,
        limit // MIB,
    )
    return replace(config, max_bytes_in_flight=share)


def _share(limit: int) -> int:
    return max(MIB, limit // LEAST, (limit - RESERVED) // SHARE)
