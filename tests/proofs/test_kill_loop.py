"""The server is killed again and again; nothing acknowledged is ever lost, nothing removed back.

It is killed at random moments and in any of the calls that change the disk: during writes,
while it starts, while a segment is built, saved and taken into use, while LevelDB compacts,
and while it takes over a database of EuclidesDB (C++).
"""

from __future__ import annotations

import random
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import plyvel
import pytest
from failing_server import FailingServer, after_some_calls
from ledger import MODEL, Ledger, check_searches, vector, write_for_a_while
from support.processes import ServerProcess

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb

ENGINES = ("exact", "faiss", "annoy")
PARALLEL = 4


def killed_again_and_again(folder: Path, seed: int, kills: int) -> tuple[int, int]:
    """Returns how many times the server was killed, and how many writes were acknowledged."""
    chance = random.Random(seed)
    server = FailingServer(folder, engine=ENGINES[seed % len(ENGINES)])
    ledger = Ledger()
    killed = 0
    while killed < kills:
        if chance.random() < 0.3:  # while it starts
            server.faults.kill_in(after_some_calls(chance) // 10 + 1)
            with server.start() as process:
                address = served_at(process)
                if address is not None:
                    with suppress(euclidesdb.Unavailable, euclidesdb.Cancelled):
                        check(ledger, address)  # killed meanwhile, perhaps
                    run_until_dead(ledger, process, address, chance, at_random=False)
            killed += 1
        server.faults["kill_at"] = 0
        with server.start() as process:
            address = process.address()
            check(ledger, address)
            at_random = chance.random() < 0.4
            if not at_random:
                server.faults.kill_in(after_some_calls(chance))
            run_until_dead(ledger, process, address, chance, at_random=at_random)
        killed += 1
    server.faults["kill_at"] = 0
    with server.start() as process:
        check(ledger, process.address())
    return killed, ledger.acknowledged


def served_at(process: ServerProcess) -> str | None:
    """Where it serves; None where it died before."""
    try:
        return process.address()
    except AssertionError:
        process.exit_code()
        return None


def check(ledger: Ledger, address: str) -> None:
    with euclidesdb.Client(address, timeout=30) as client:
        ledger.check(client)


def run_until_dead(
    ledger: Ledger,
    process: ServerProcess,
    address: str,
    chance: random.Random,
    *,
    at_random: bool,
) -> None:
    writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
    if at_random:
        killer = threading.Timer(chance.uniform(0.02, 0.6), process.kill)
        killer.start()
        killer.join()
    process.exit_code(timeout=60)
    for writer in writers:
        writer.stop()


def test_a_server_killed_again_and_again_loses_nothing(tmp_path):
    killed, acknowledged = 0, 0
    for seed in range(3):
        more, writes = killed_again_and_again(tmp_path / str(seed), seed, kills=5)
        killed, acknowledged = killed + more, acknowledged + writes
    print(f"{killed} kills, {acknowledged} acknowledged writes, none lost")


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_thousand_kills_lose_nothing(tmp_path):
    with ThreadPoolExecutor(PARALLEL) as threads:
        runs = threads.map(
            lambda seed: killed_again_and_again(tmp_path / str(seed), seed, kills=84),
            range(100, 112),
        )
        killed, acknowledged = map(sum, zip(*runs, strict=True))
    print(f"{killed} kills, {acknowledged} acknowledged writes, none lost")
    assert killed >= 1000


def write_euclidesdb(folder: Path, count: int) -> dict[str, int]:
    """A database of EuclidesDB (C++); returns its items as `check_searches` takes them."""
    database = plyvel.DB(str(folder), create_if_missing=True)
    metadata = pb.EuclidesDBMetadata(database_version=1)
    database.put(b"__euclidesdb_metadata", metadata.SerializeToString())
    for number in range(count):
        item = pb.ItemData(item_id=number)
        item.vectors.add(model=MODEL, features=vector(str(number), 1).tolist())
        database.put(struct.pack("=i", number), item.SerializeToString())
    database.close()
    return {str(number): 1 for number in range(count)}


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(0)]), 17]
)
def test_a_migration_killed_in_any_of_its_calls_starts_again(tmp_path, step):
    server = FailingServer(tmp_path)
    items = write_euclidesdb(server.data, 60)
    original = {
        path.name: path.read_bytes() for path in server.data.iterdir() if path.suffix == ".log"
    }
    calls, died = 1, True
    while died:
        server.faults.kill_in(calls)
        with server.start() as process:
            address = served_at(process)
            died = address is None
            if address is not None:
                server.faults["kill_at"] = 0
                with euclidesdb.Client(address) as client:
                    check_searches(client, items)
        calls += step
    assert calls > 2 * step, "it was never killed while it migrated"
    for name, content in original.items():
        assert (server.data / name).read_bytes() == content
