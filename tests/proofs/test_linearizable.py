"""Many threads write, remove, read and search a few items while segments are built all the time:
what each of them saw could have happened one after the other.

What is stored and what is found are two registers. A write that is not acknowledged yet is
stored before it is found, so a caller that gets the new version may still find the old one.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import euclidesdb
from euclidesdb_server.config.server import KIB, IndexConfig
from euclidesdb_server.engines.registry import create_engine
from euclidesdb_server.store.layout import STORE_FOLDER
from tests.proofs.failing_server import DEFAULT, SMALL
from tests.proofs.history import Kind, Operation, Version, around, contradiction
from tests.proofs.registers import DIM, MODEL, DatabaseRegisters, Registers, ServedRegisters
from tests.support.assembled import Database, no_models
from tests.support.leveldb_logs import newest_log
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import generations, wait_for

IDS = ("red", "green", "blue")
STORED, FOUND = "stored", "found"
ENGINES = {
    "exact": {},
    "exact_disk": {},
    "faiss": {"index_type": "HNSW32"},
    "annoy": {"metric": "l2"},
}
BUILT_AFTER_EVERY_WRITE = IndexConfig(compact_rows=1, merge_factor=2)
SEGMENTS = 4
"""The load goes on until that many have been built under it."""
PAUSE = 0.02
"""Seconds between operations of a thread while it only waits for segments: the check of a history
takes longer the longer it is."""


@dataclass
class Recorder:
    """Does what threads ask of the registers, and keeps when and with what result.

    histories: by id, and by whether it was stored or found there.
    """

    registers: Registers
    histories: dict[tuple[str, str], list[Operation]] = field(
        default_factory=lambda: defaultdict(list)
    )
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, item_id: str) -> None:
        version = next(self.versions)
        with timed() as times:
            self.registers.add(item_id, version)
        self._written(item_id, Kind.ADD, version, times)

    def add_many(self) -> None:
        versions = {item_id: next(self.versions) for item_id in IDS}
        with timed() as times:
            self.registers.add_many(versions)
        for item_id, version in versions.items():
            self._written(item_id, Kind.ADD, version, times)

    def remove(self, item_id: str) -> None:
        with timed() as times:
            there = self.registers.remove(item_id)
        if there:
            self._written(item_id, Kind.REMOVE, None, times)
        else:
            self._read(item_id, STORED, None, times)

    def get(self, item_id: str) -> None:
        with timed() as times:
            version = self.registers.get(item_id)
        self._read(item_id, STORED, version, times)

    def search(self) -> None:
        with timed() as times:
            found = self.registers.search()
        for item_id in IDS:
            self._read(item_id, FOUND, found.get(item_id), times)

    def search_by_id(self, item_id: str) -> None:
        with timed() as times:
            answer = self.registers.search_by_id(item_id)
        if answer is None:
            self._read(item_id, STORED, None, times)
            return
        version, others = answer
        self._read(item_id, STORED, version, times)
        for other in {*IDS} - {item_id}:
            if other in others:
                self.histories[other, FOUND].append(Operation(Kind.SEE, None, *times))
            else:
                self._read(other, FOUND, None, times)

    def check(self) -> int:
        """Fails where a history is not linearizable; returns how many operations there were."""
        for (item_id, side), history in self.histories.items():
            wrong = contradiction(history)
            assert wrong is None, f"{item_id}, as it was {side}:\n{around(history, wrong)}"
            read = {each.version for each in history if each.kind is Kind.READ}
            assert len(read) > 10, "hardly anything was read: this proves nothing"
        return sum(map(len, self.histories.values()))

    def _written(self, item_id: str, kind: Kind, version: Version, times: list[float]) -> None:
        for side in (STORED, FOUND):
            self.histories[item_id, side].append(Operation(kind, version, *times))

    def _read(self, item_id: str, side: str, version: Version, times: list[float]) -> None:
        self.histories[item_id, side].append(Operation(Kind.READ, version, *times))


@contextmanager
def timed() -> Iterator[list[float]]:
    """Call and return; the second only where nothing was raised."""
    times = [time.perf_counter()]
    yield times
    times.append(time.perf_counter())


def write(recorder: Recorder, seed: int, writes: int) -> None:
    chance = random.Random(seed)
    for _ in range(writes):
        item_id = chance.choice(IDS)
        dice = chance.random()
        if dice < 0.6:
            recorder.add(item_id)
        elif dice < 0.75:
            recorder.add_many()
        else:
            recorder.remove(item_id)


def read(recorder: Recorder, seed: int, slow: threading.Event, done: threading.Event) -> None:
    chance = random.Random(seed)
    while not done.wait(PAUSE if slow.is_set() else 0):
        item_id = chance.choice(IDS)
        match chance.randrange(3):
            case 0:
                recorder.get(item_id)
            case 1:
                recorder.search()
            case _:
                recorder.search_by_id(item_id)


def record(
    registers: Registers, data: Path, *, seed: int, writers: int, readers: int, writes: int
) -> Recorder:
    """Let threads loose on a database of one space, whose folder is `data`.

    writes: of each writer, at least; then all go on slowly until enough segments are built.
    """
    recorder, slow, done = Recorder(registers), threading.Event(), threading.Event()
    with ThreadPoolExecutor(writers + readers) as threads:
        reading = [
            threads.submit(read, recorder, 1000 * seed + number, slow, done)
            for number in range(readers)
        ]

        def write_together(writes: int, seed: int) -> None:
            writing = [
                threads.submit(write, recorder, seed + number, writes) for number in range(writers)
            ]
            for future in writing:
                future.result()

        def built() -> bool:
            if max(generations(data), default=0) >= SEGMENTS:
                return True
            write_together(1, next(seeds))
            done.wait(PAUSE)
            return False

        seeds = itertools.count(1000 * seed + 100, writers)
        try:
            write_together(writes, 1000 * seed)
            slow.set()
            wait_for(built, f"{SEGMENTS} segments under load")
        finally:
            done.set()
        for future in reading:
            future.result()
    return recorder


def run_in_process(folder: Path, engine: str, buffer_kib: int, **load: int) -> int:
    folder.mkdir(exist_ok=True)
    made = create_engine(engine, ENGINES[engine], file=None)
    models = no_models(folder / "models")
    with Database(
        folder,
        models,
        {MODEL: DIM},
        engine=made,
        index=BUILT_AFTER_EVERY_WRITE,
        sync=True,
        write_buffer_bytes=buffer_kib * KIB,
    ) as database:
        operations = recorded(DatabaseRegisters(database), folder, buffer_kib, load)
        assert database.compactor.wait_idle(60)
    return operations


def run_served(folder: Path, engine: str, buffer_kib: int, **load: int) -> int:
    models, data = folder / "models", folder / "data"
    save_vector_space(models, MODEL, feature_dim=DIM)
    index = {"compact_rows": 1, "merge_factor": 2}
    with (
        start_server(
            data,
            models,
            engine=engine,
            engines={engine: ENGINES[engine]},
            database={"write_buffer_kib": buffer_kib},
            index=index,
        ) as server,
        euclidesdb.Client(server.address) as client,
    ):
        return recorded(ServedRegisters(client), data, buffer_kib, load)


def recorded(registers: Registers, data: Path, buffer_kib: int, load: dict[str, int]) -> int:
    """Record and check histories; returns how many operations there were."""
    first_log = newest_log(data / STORE_FOLDER)
    operations = record(registers, data, **load).check()
    assert (newest_log(data / STORE_FOLDER) > first_log) == (buffer_kib == SMALL)
    return operations


@pytest.mark.parametrize(("engine", "buffer_kib"), [("exact", DEFAULT), ("faiss", SMALL)])
def test_each_item_is_a_linearizable_register(tmp_path, engine, buffer_kib):
    operations = run_in_process(
        tmp_path, engine, buffer_kib, seed=1, writers=4, readers=3, writes=50
    )
    print(f"{operations} operations")


def test_each_item_is_a_linearizable_register_over_grpc(tmp_path):
    operations = run_served(tmp_path, "exact", SMALL, seed=2, writers=4, readers=3, writes=50)
    print(f"{operations} operations")


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("buffer_kib", [SMALL, DEFAULT])
@pytest.mark.parametrize("run", [run_in_process, run_served])
@pytest.mark.parametrize("engine", ENGINES)
def test_each_item_is_a_linearizable_register_in_the_long_run(tmp_path, run, engine, buffer_kib):
    operations = sum(
        run(
            tmp_path / str(seed),
            engine,
            buffer_kib,
            seed=seed,
            writers=2 + 3 * seed,
            readers=6,
            writes=1500 // (seed + 1),
        )
        for seed in range(5)
    )
    print(f"{operations} operations")
