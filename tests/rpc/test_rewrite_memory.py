"""A rewrite of a space takes little memory in the server, however large the space is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from tests.support.calls import Stubs
from tests.support.footprint import footprint
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

MODEL = "vectors"
DIM, ROWS, BLOCK = 512, 50_000, 10_000
ADDED_BYTES = 64 << 20
"""The most that a rewrite may add to the server's memory; the vectors are 98 MiB."""

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = {engine}
[models]
dir_path = models
[database]
db_path = data
sync = false
[faiss]
index_type = IVF16,SQ8
[index]
merge_factor = 100
idle_seconds = 1000
"""


@pytest.mark.parametrize(
    "engine",
    ["faiss", *(pytest.param(each, marks=pytest.mark.long) for each in ("exact", "exact_disk"))],
)
def test_a_merge_of_a_whole_space_adds_little_to_the_memory_of_the_server(tmp_path, engine):
    save_vector_space(tmp_path / "models", MODEL, feature_dim=DIM)
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(CONFIG.format(engine=engine))
    with serving(conf) as (client, _, _):
        for part in (range(ROWS - BLOCK), range(ROWS - BLOCK, ROWS)):
            vectors = np.random.default_rng(1).random((len(part), DIM), np.float32)
            assert not client.add_vectors(map(str, part), vectors, model=MODEL)
            # each part has at least a segment of its own
            wait_for(lambda: segments(client), "nearly all rows are in segments")
    with serving(conf) as (client, server, address):  # which has no memory left from the load
        wait_for(lambda: segments(client), "the segments are verified")
        assert segments(client) != 1
        before = largest = footprint(server).memory
        refresh(address)
        while segments(client) != 1:
            for _ in range(10):
                largest = max(largest, footprint(server).memory)
    assert largest - before < ADDED_BYTES, f"{before >> 20} MiB, then up to {largest >> 20} MiB"


@contextmanager
def serving(conf: Path) -> Iterator[tuple[euclidesdb.Client, psutil.Process, str]]:
    """A client, the server's process and its address. The server is stopped in order afterwards."""
    with ServerProcess("-c", conf, log=conf.with_suffix(".log")) as process:
        address = process.address()
        with euclidesdb.Client(address) as client:
            yield client, psutil.Process(process.pid), address
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0


def segments(client: euclidesdb.Client) -> int | None:
    """How many segments the space has; None while it is at work."""
    (model,) = client.models()
    index = model.index
    assert index is not None
    at_work = index.building or index.verifying or index.unindexed_rows >= BLOCK
    return None if at_work else index.segments


def refresh(address: str) -> None:
    """Request that each space becomes one segment."""
    with Stubs(address) as stubs:
        stubs.legacy.Shutdown(legacy.ShutdownRequest(shutdown_type=1))
