"""The disk is full: writes are refused, reads go on, and writes work again when there is room.

No restart is needed, and nothing acknowledged before, meanwhile or afterwards is lost.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from failing_server import FailingServer
from ledger import DIM, IDS_EACH, MODEL, Ledger, vector, write_for_a_while
from support.waiting import wait_for

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy


def new_items(names: range) -> list[euclidesdb.NewItem]:
    return [
        euclidesdb.NewItem(f"new-{name}", vectors={MODEL: vector("new", name)}) for name in names
    ]


def add_one(client: euclidesdb.Client) -> None:
    client.add("new", vectors={MODEL: np.ones(DIM)})


def add_many(client: euclidesdb.Client) -> None:
    refused = client.add_many(new_items(range(20)))
    assert len(refused) == 20
    raise refused[0].error


def add_vectors(client: euclidesdb.Client) -> None:
    refused = client.add_vectors([f"new-{n}" for n in range(3)], np.ones((3, DIM)), model=MODEL)
    assert [each.position for each in refused] == [0, 1, 2]
    raise refused[0].error


def use_up_reserved_labels(client: euclidesdb.Client) -> None:
    """Labels are reserved in runs of 4,096."""
    ids = [f"new-{n}" for n in range(5000)]
    refused = client.add_vectors(ids, np.ones((5000, DIM)), model=MODEL)
    raise refused[0].error


def remove(client: euclidesdb.Client) -> None:
    client.remove("0-0")


@pytest.fixture
def filled(tmp_path: Path):
    """A server with the items "0-0" to "0-11", version 1, half of them sealed."""
    server = FailingServer(tmp_path)
    with server.start() as process, euclidesdb.Client(process.address(), timeout=30) as client:
        ledger = Ledger()
        for index in range(IDS_EACH):
            item_id = f"0-{index}"
            ledger.may_become(item_id, 1)
            client.add(
                item_id,
                vectors={MODEL: vector(item_id, 1)},
                attributes={"id": item_id, "version": 1},
                metadata=f"{item_id} 1".encode(),
            )
            ledger.became(item_id, 1)
        yield server, process, client, ledger


@pytest.mark.parametrize("write", [add_one, add_many, add_vectors, use_up_reserved_labels, remove])
def test_a_write_is_refused_reads_go_on_and_writes_come_back(filled, write):
    server, process, client, ledger = filled
    server.faults.fill()
    for _ in range(3):
        with pytest.raises(euclidesdb.DiskFull, match="No space left"):
            write(client)
        ledger.check(client)
    server.faults.make_room()
    wait_for(lambda: takes_writes(client), "a write after there was room again")
    client.remove("probe")
    ledger.check(client)
    process.kill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as other:
        ledger.check(other)


def takes_writes(client: euclidesdb.Client) -> bool:
    try:
        client.add("probe", vectors={MODEL: np.ones(DIM)})
    except euclidesdb.DiskFull:
        return False
    return True


def test_a_sync_that_fails_stops_writing_until_it_is_known_what_is_there(filled):
    server, process, client, ledger = filled
    server.faults["sync_fails"] = 1
    ledger.may_become("0-0", 2)
    with pytest.raises(euclidesdb.ServerError):
        client.add(
            "0-0",
            vectors={MODEL: vector("0-0", 2)},
            attributes={"id": "0-0", "version": 2},
            metadata=b"0-0 2",
        )
    server.faults["sync_fails"] = 0
    wait_for(lambda: takes_writes(client), "a write after syncing works again")
    client.remove("probe")
    ledger.check(client)  # it may be there or not, but is the same everywhere
    process.kill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as other:
        ledger.check(other)


def test_a_segment_that_finds_no_room_leaves_nothing_behind_and_is_built_later(filled):
    server, process, client, ledger = filled
    segments = server.data / "segments" / "1"
    with grpc.insecure_channel(process.address_told) as channel:
        refresh = channel.unary_unary("/euclidesproto.Similar/Shutdown")
        request = legacy.ShutdownRequest(shutdown_type=1).SerializeToString()
        server.faults.fill()
        refresh(request)
        wait_for(lambda: "segment could not be built" in server.log.read_text(), "a failed build")
        ledger.check(client)
        assert [*segments.glob("*")] == []
        server.faults.make_room()
        refresh(request)
        wait_for((segments / "1" / "manifest.json").is_file, "a build with room")
    ledger.check(client)


@pytest.mark.parametrize("rounds", [2, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.timeout(0)
def test_writers_on_a_disk_that_fills_up_and_empties_lose_nothing(tmp_path, rounds):
    chance = random.Random(rounds)
    server = FailingServer(tmp_path, engine="faiss")
    ledger = Ledger()
    for _ in range(rounds):
        with server.start() as process:
            address = process.address()
            with euclidesdb.Client(address, timeout=30) as client:
                ledger.check(client)
                writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
                for _ in range(3):
                    time.sleep(chance.uniform(0.05, 0.4))  # the writers write
                    server.faults.fill()
                    time.sleep(chance.uniform(0.0, 0.3))
                    server.faults.make_room()
                wait_for(lambda: takes_writes(client), "a write after there was room again")
                for writer in writers:
                    writer.stop()
                client.remove("probe")
                ledger.check(client)
            process.kill()
    assert ledger.acknowledged > 10 * rounds


def test_a_start_without_room_says_so_and_works_when_there_is(filled):
    server, process, _, ledger = filled
    process.kill()
    server.faults.fill()
    with server.start() as failed:
        assert failed.exit_code() == 1
    assert "No space left on device" in server.log.read_text()
    server.faults.make_room()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as client:
        ledger.check(client)
