"""The server is killed again and again; nothing acknowledged is ever lost, nothing removed back.

It is killed at random moments and in any of the calls that change the disk: during writes,
while it starts, while segments are built, merged, taken into use and deleted, while LevelDB
compacts, and while it takes over a database of EuclidesDB (C++). Now and then it is stopped in
order between two kills.
"""

from __future__ import annotations

import random
import shutil
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import plyvel
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.proofs.failing_server import (
    DEFAULT,
    ENGINES,
    SMALL,
    FailingServer,
    after_some_calls,
    check,
    summary,
)
from tests.proofs.writers import MODEL, check_searches, vector
from tests.support.ledger import Ledger

PARALLEL = 4
SEEDS = range(100, 112)
"""Of the servers that are killed a thousand times in all."""
METADATA_BYTES = 8000
"""Of an item to be migrated: 60 fill a buffer of 64 KiB several times."""
PHASES = (
    "starting: ",
    "write leveldb/N.log",
    "sync leveldb/N.log",
    "leveldb/N.ldb",
    "leveldb/MANIFEST-N",
    "rename leveldb/CURRENT",
    "create segments/N/N.tmp/",
    "write segments/N/N.tmp/",
    "sync segments/N/N.tmp",
    "rename segments/N/N",
    "remove segments/N/N/",
    "at a random moment",
)
"""What a thousand kills must have hit."""


@dataclass
class Run:
    """What some servers came to: where they were killed, what they wrote, what was acknowledged."""

    deaths: Counter[str] = field(default_factory=Counter)
    rewrites: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0

    def __add__(self, other: Run) -> Run:
        return Run(
            self.deaths + other.deaths,
            self.rewrites + other.rewrites,
            self.acknowledged + other.acknowledged,
        )

    def summary(self) -> str:
        return (
            f"{self.deaths.total()} kills, {self.rewrites['flushes']} flushes, "
            f"{self.rewrites['merges']} merges, "
            f"{self.rewrites['single segments']} single segments written again, "
            f"{self.acknowledged} acknowledged writes, "
            f"none lost\n{summary(self.deaths)}"
        )


def killed_again_and_again(
    folder: Path, seed: int, kills: int, buffer_kib: int, *, brief: bool = False
) -> Run:
    """Kill a server that often. brief: as for `write_until_merged`, at the end."""
    chance = random.Random(seed)
    # without syncing a killed server loses nothing, either: only a machine would
    server = FailingServer(
        folder, engine=ENGINES[seed % len(ENGINES)], sync=seed % 4 != 3, buffer_kib=buffer_kib
    )
    ledger = Ledger()
    while server.deaths.total() < kills:
        if chance.random() < 0.3:  # while it starts
            if chance.random() < 0.1:  # one call of many, so that chance might never choose it
                server.faults.kill_in(1, "rename leveldb/CURRENT")
            else:
                server.faults.kill_in(after_some_calls(chance) // 10 + 1)
            with server.start() as process:
                address = server.address(process)
                if address is not None:
                    with suppress(euclidesdb.Unavailable, euclidesdb.Cancelled):
                        check(ledger, address)  # killed meanwhile, perhaps
                    server.write_until_killed(process, address, ledger, chance)
        server.faults.spare()
        with server.start() as process:
            address = process.address()
            check(ledger, address)
            way = chance.random()
            if way < 0.2:
                server.write_and_stop(process, address, ledger, chance)
                continue
            if way < 0.7:
                server.kill_later(chance)
            server.write_until_killed(process, address, ledger, chance)
    server.faults.spare()
    with server.start() as process:
        check(ledger, process.address())
        server.write_until_merged(process, process.address(), ledger, brief=brief)
    with server.start() as process:
        check(ledger, process.address())
    return Run(server.deaths, server.rewrites(), ledger.acknowledged)


def test_a_server_killed_again_and_again_loses_nothing(tmp_path):
    run = killed_again_and_again(tmp_path, 1, 2, SMALL, brief=True)
    print(run.summary())


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("buffer_kib", [SMALL, DEFAULT])
def test_a_thousand_kills_lose_nothing(tmp_path, buffer_kib):
    with ThreadPoolExecutor(PARALLEL) as threads:
        runs = threads.map(
            lambda seed: killed_again_and_again(tmp_path / str(seed), seed, 84, buffer_kib),
            SEEDS,
        )
        run = sum(runs, Run())
    print(run.summary())
    assert run.deaths.total() >= 1000
    # between two flushes most rows of a segment are replaced: it is written again before it has
    # neighbors, so that each server is only sure to have merged several once, at its end
    assert run.rewrites["merges"] >= len(SEEDS)
    assert run.rewrites["merges"] + run.rewrites["single segments"] >= 100
    missed = [phase for phase in PHASES if not any(phase in where for where in run.deaths)]
    assert not missed, f"nothing was ever killed there\n{run.summary()}"


@pytest.mark.parametrize(
    ("step", "buffer_kib"),
    [
        pytest.param(1, DEFAULT, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        pytest.param(1, SMALL, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        (36, SMALL),
    ],
)
def test_a_start_after_an_orderly_stop_may_be_killed_in_any_of_its_calls(
    tmp_path, step, buffer_kib
):
    server = FailingServer(tmp_path / "server", buffer_kib=buffer_kib)
    ledger = Ledger()
    with server.start() as process:
        server.write_and_stop(process, process.address(), ledger, random.Random(step))
    stopped = tmp_path / "stopped"
    shutil.copytree(server.data, stopped)
    for calls in range(1, 10_000, step):
        server.faults.kill_in(calls)
        with server.start() as process:
            address = server.address(process)
        server.faults.spare()
        if address is not None:
            break
        with server.start() as process:
            check(ledger, process.address())
        shutil.rmtree(server.data)
        shutil.copytree(stopped, server.data)
    print(f"killed in each of {server.deaths.total()} calls\n{summary(server.deaths)}")
    assert server.deaths, "it was never killed while it started"


def write_euclidesdb(folder: Path, count: int) -> dict[str, int]:
    """A database of EuclidesDB (C++); returns its items as `check_searches` takes them."""
    database = plyvel.DB(str(folder), create_if_missing=True)
    metadata = pb.EuclidesDBMetadata(database_version=1)
    database.put(b"__euclidesdb_metadata", metadata.SerializeToString())
    for number in range(count):
        item = pb.ItemData(item_id=number, metadata=bytes([number]) * METADATA_BYTES)
        item.vectors.add(model=MODEL, features=vector(str(number), 1).tolist())
        database.put(struct.pack("=i", number), item.SerializeToString())
    database.close()
    return {str(number): 1 for number in range(count)}


@pytest.mark.parametrize(
    ("step", "buffer_kib"),
    [
        pytest.param(1, DEFAULT, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        pytest.param(3, SMALL, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        (450, SMALL),
    ],
)
def test_a_migration_may_be_killed_in_any_of_its_calls(tmp_path, step, buffer_kib):
    server = FailingServer(tmp_path / "server", buffer_kib=buffer_kib)
    items = write_euclidesdb(server.data, 60)
    original = tmp_path / "original"
    shutil.copytree(server.data, original)
    for calls in range(1, 10_000, step):
        for _ in range(1 + calls % 2):  # every other time what the first kill left is killed, too
            server.faults.kill_in(calls)
            with server.start() as process:
                address = server.address(process)
        server.faults.spare()
        if address is not None:
            break
        with server.start() as process, euclidesdb.Client(process.address()) as client:
            check_searches(client, items)
        for file in original.glob("[0-9]*.*"):
            assert (server.data / file.name).read_bytes() == file.read_bytes()
        shutil.rmtree(server.data)
        shutil.copytree(original, server.data)
    print(f"{server.deaths.total()} kills\n{summary(server.deaths)}")
    assert server.deaths, "it was never killed while it migrated"
