"""Requests may take a share of the memory that the server is limited to."""

from __future__ import annotations

import pytest

from euclidesdb_server.config.server import MIB, ServerConfig
from euclidesdb_server.rpc.memory_share import within_memory


@pytest.mark.parametrize(
    ("configured", "limit", "left"),
    [
        (512 * MIB, None, 512 * MIB),
        (512 * MIB, 512 * MIB, 32 * MIB),
        (512 * MIB, 256 * MIB, 8 * MIB),
        (512 * MIB, 2304 * MIB, 256 * MIB),
        (512 * MIB, 4352 * MIB, 512 * MIB),
        (512 * MIB, 64 * 1024 * MIB, 512 * MIB),
        (MIB, 512 * MIB, MIB),
        (512 * MIB, 1, MIB),
    ],
)
def test_bytes_in_flight_are_at_most_a_share_of_the_limit(configured, limit, left):
    config = ServerConfig(max_bytes_in_flight=configured)
    assert within_memory(config, limit).max_bytes_in_flight == left
