"""Calls by the ten thousand and updates by the million leave nothing behind.

Of calls no memory, thread, open file, mapped segment or folder is left; of updates no more
memory, disk and records than the items take by themselves.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import plyvel
import psutil
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_server.index.compactor import TOMBSTONES
from euclidesdb_server.store import keys
from tests.support.callers import DIM, MODEL, Caller
from tests.support.footprint import Footprint, disk_use, footprint, peak
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

CALLERS = 4
MIB = 1 << 20
WRITE_BUFFER = 16 * MIB
"""LevelDB's: so much it holds in memory, and in its log, before it makes a table of it."""
MERGED = WRITE_BUFFER + 6 * MIB
"""The disk use of a thousand items when LevelDB has just merged its tables: a log that fills."""
UNMERGED = 8 * WRITE_BUFFER
"""The most it may be between: two logs, four tables to be merged, 10 MiB and a table below."""

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = {engine}
[models]
dir_path = models
[database]
db_path = data
[faiss]
index_type = HNSW8
[index]
compact_rows = {compact_rows}
merge_factor = 2
recall_interval = 0.01
"""


@dataclass(frozen=True)
class Served:
    """A server of one space that builds segments all the time, seen from outside."""

    address: str
    data: Path
    process: psutil.Process

    def at_rest(self) -> bool:
        """Whether all that was written is in a segment, and nothing but that one is left.

        Requests it, if it is not.
        """
        with euclidesdb.Client(self.address) as client, grpc.insecure_channel(self.address) as raw:
            (model,) = client.models()
            index = model.index
            assert index is not None
            if index.building:
                return False
            whole = index.segments <= 1 and not index.unindexed_rows
            if not whole or index.indexed_rows != model.items:
                refresh = raw.unary_unary("/euclidesproto.Similar/Shutdown")
                refresh(legacy.ShutdownRequest(shutdown_type=1).SerializeToString())
                return False
        return len(self.segments()) == 1 and self.mapped_segments() <= self.segments()

    def segments(self) -> set[str]:
        """The names of what lies where segments do."""
        return {folder.name for folder in self.data.glob("segments/1/*")}

    def mapped_segments(self) -> set[str]:
        """The names of the segments in the server's memory, those that are deleted, too."""
        maps = self.process.memory_maps(grouped=False)
        files = [Path(each.path) for each in maps if "/segments/" in each.path]
        return {file.parent.name for file in files}

    def low_watermark(self) -> Footprint:
        """What it takes at rest."""
        wait_for(self.at_rest, "the last segment is built, and those before it are gone")
        return footprint(self.process)


@contextmanager
def serving(folder: Path, engine: str, dim: int) -> Iterator[Served]:
    """Stopped in order on leaving the block."""
    # glibc keeps freed memory for each of its arenas: how the threads happen to share many of
    # them would hide what the server itself keeps
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    save_vector_space(folder / "models", MODEL, feature_dim=dim)
    conf, log = folder / "euclidesdb.conf", folder / "log"
    conf.write_text(CONFIG.format(engine=engine, compact_rows=50 if engine == "exact" else 300))
    with ServerProcess("-c", conf, log=log, environment=environment) as process:
        yield Served(process.address(), folder / "data", psutil.Process(process.pid))
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0, log.read_text()


def after_rounds(server: Served, callers: list[Caller], rounds: int, readings: int) -> Footprint:
    """The most that the server took at rest: memory goes up and down with LevelDB's buffers."""
    taken = []
    with ThreadPoolExecutor(len(callers)) as threads:
        for _ in range(readings):
            [*threads.map(lambda caller: caller.make_rounds(rounds // readings), callers)]
            taken.append(server.low_watermark())
    return peak(taken)


BRIEF = (2, 2, 4, WRITE_BUFFER)  # which fills meanwhile
AT_LENGTH = (4, 120, 400, 8 * MIB)
LONG = [pytest.mark.long, pytest.mark.timeout(0)]


@pytest.mark.parametrize(
    ("engine", "readings", "warming_up", "rounds", "growth"),
    [
        ("faiss", *BRIEF),  # builds in other processes, too
        pytest.param("exact", *AT_LENGTH, marks=LONG),
        pytest.param("faiss", *AT_LENGTH, marks=LONG),
    ],
)
def test_mixed_calls_leave_memory_threads_and_files_as_they_were(
    tmp_path, engine, readings, warming_up, rounds, growth
):
    with serving(tmp_path, engine, DIM) as server:
        callers = [Caller(server.address, seed) for seed in range(CALLERS)]
        before = after_rounds(server, callers, warming_up, readings)
        after = after_rounds(server, callers, rounds, readings)
        (segments,) = map(int, server.segments())
        calls, late = (
            sum(each) for each in zip(*((c.calls, c.late) for c in callers), strict=True)
        )
        print(f"{calls} calls, {late} late, {segments} segments\nbefore {before}\nafter  {after}")
        assert {entry.name for entry in server.data.iterdir()} <= {"columns", "leveldb", "segments"}
        assert {entry.name for entry in server.data.glob("segments/*")} == {"1"}
        assert len([*server.data.glob("leveldb/*")]) < 20
    assert late > calls / 100, "hardly a call was given up"
    assert segments >= 2 * readings, "one at least before each reading"
    # a call that is given up still holds its thread: now and then more are at work at once
    assert after.threads <= before.threads + 8
    assert after.files <= before.files + 4
    assert after.maps <= before.maps + 3 * 8
    assert after.memory <= 1.1 * before.memory + growth


@dataclass(frozen=True)
class AfterUpdates:
    """A server after updates. disk: after each round of them; records: by kind."""

    footprint: Footprint
    disk: list[int]
    records: Counter[int]


def after_updates(folder: Path, rounds: int) -> AfterUpdates:
    """Write the same thousand items in each round, and go on until LevelDB has merged its tables.

    It does so when there are some, and till then what is overwritten lies there: disk use goes
    up and down. It should come down within 500 rounds, in which LevelDB writes 20 tables.
    """
    ids = [f"item-{number}" for number in range(1000)]
    numbers = np.random.default_rng(rounds)
    disk: list[int] = []
    folder.mkdir()
    with serving(folder, "exact", 128) as server:
        with euclidesdb.Client(server.address) as client:
            while len(disk) < rounds or (disk[-1] > MERGED and len(disk) < rounds + 500):
                vectors = numbers.standard_normal((len(ids), 128), np.float32)
                assert not client.add_vectors(ids, vectors, model=MODEL)
                disk.append(disk_use(server.data))
        taken = server.low_watermark()
    with plyvel.DB(str(server.data / "leveldb")) as store:
        return AfterUpdates(taken, disk, Counter(key[0] for key, _ in store))


@pytest.mark.parametrize(
    "rounds", [40, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
def test_updates_of_a_thousand_items_take_no_more_than_a_thousand_items(tmp_path, rounds):
    fresh = after_updates(tmp_path / "fresh", 1)
    worn = after_updates(tmp_path / "worn", rounds)
    print(
        f"added once: {fresh.footprint}; disk {fresh.disk[-1] / MIB:.1f} MiB\n"
        f"{len(worn.disk)},000 updates: {worn.footprint}; disk {worn.disk[-1] / MIB:.1f} MiB, "
        f"{max(worn.disk) / MIB:.1f} at most"
    )
    # tombstones are moved into bitmaps some thousands at a time, and meanwhile others are written
    assert worn.records.pop(keys.TOMBSTONE[0], 0) <= 2 * TOMBSTONES
    fresh.records.pop(keys.TOMBSTONE[0], None)
    # the keys of requests are remembered for a while, one for each write
    assert worn.records.pop(keys.REQUESTS[0], 0) <= len(worn.disk)
    fresh.records.pop(keys.REQUESTS[0], None)
    assert worn.records == fresh.records
    assert worn.disk[-1] <= MERGED
    assert max(worn.disk) <= UNMERGED
    # two write buffers, and what a bulk update of half a megabyte takes on its way
    assert worn.footprint.memory <= fresh.footprint.memory + 2 * WRITE_BUFFER + 32 * MIB
