"""The disk is full: writes are refused, reads go on, and writes work again when there is room.

No restart is needed, and nothing acknowledged before, meanwhile or afterwards is lost. The disk
fills up between two calls, and in any of the calls that a server makes: while it writes items,
builds a segment, starts, or takes up writing again.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_server.store.leveldb import REOPEN_INTERVAL
from tests.proofs.failing_server import (
    DEFAULT,
    ENGINES,
    SMALL,
    FailingServer,
    after_some_calls,
    check,
    summary,
)
from tests.proofs.writers import (
    DIM,
    IDS_EACH,
    MODEL,
    check_stored,
    new_item,
    vector,
    write_for_a_while,
)
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

CALLS_OF_A_SEGMENT = 48
"""About how many calls change the disk while a segment is built, named and put in its place."""


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
def engine() -> str:
    return "exact"


@pytest.fixture
def buffer_kib() -> int:
    return DEFAULT


@pytest.fixture
def filled(tmp_path: Path, engine: str, buffer_kib: int):
    """A server with the items "0-0" to "0-11", version 1, all in one segment."""
    server = FailingServer(tmp_path, engine=engine, buffer_kib=buffer_kib)
    with server.start() as process, euclidesdb.Client(process.address(), timeout=30) as client:
        ledger = Ledger()
        items = [new_item(f"0-{index}", 1) for index in range(IDS_EACH)]
        ledger.begins({str(item.id): 1 for item in items})
        assert not client.add_many(items)
        for item in items:
            ledger.became(str(item.id), 1)
        # a segment being written would meet the fault before the call of a test does
        wait_for(partial(is_at_rest, client), "the first segment")
        yield server, process, client, ledger


def is_at_rest(client: euclidesdb.Client) -> bool:
    """Whether everything is in one segment, and none is being written."""
    (model,) = client.models()
    index = model.index
    assert index is not None
    return not index.building and (index.segments, index.unindexed_rows) == (1, 0)


@pytest.mark.parametrize(
    ("writes", "buffer_kib"),
    [
        ([add_one, use_up_reserved_labels], DEFAULT),
        ([add_many, add_vectors, remove], SMALL),
    ],
)
def test_a_write_is_refused_reads_go_on_and_writes_come_back(filled, writes):
    server, process, client, ledger = filled
    for write in writes:
        server.faults.fill()
        with pytest.raises(euclidesdb.EuclidesDBError, match="No space left") as failed:
            write(client)
        assert failed.value.reason == "write_in_doubt"
        check_stored(ledger, client)
        for _ in range(2):
            with pytest.raises(euclidesdb.DiskFull, match="No space left"):
                write(client)
            check_stored(ledger, client)
        server.faults.make_room()
        wait_for(lambda: takes_writes(client), "a write after there was room again")
        client.remove("probe")
        check_stored(ledger, client)
    process.kill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as other:
        check_stored(ledger, other)


def takes_writes(client: euclidesdb.Client) -> bool:
    try:
        client.add("probe", vectors={MODEL: np.ones(DIM)})
    except euclidesdb.EuclidesDBError:
        return False
    return True


def test_a_sync_that_fails_stops_writing_until_it_is_known_what_is_there(filled):
    server, process, client, ledger = filled
    server.faults["sync_fails"] = 1
    ledger.begins({"0-0": 2})
    with pytest.raises(euclidesdb.WriteInDoubt):
        client.add(
            "0-0",
            vectors={MODEL: vector("0-0", 2)},
            attributes={"id": "0-0", "version": 2},
            metadata=b"0-0 2",
        )
    server.faults["sync_fails"] = 0
    wait_for(lambda: takes_writes(client), "a write after syncing works again")
    client.remove("probe")
    check_stored(ledger, client)  # it may be there or not, but is the same everywhere
    process.kill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as other:
        check_stored(ledger, other)


def test_what_a_failed_sync_leaves_is_never_called_refused(filled):
    server, _, client, ledger = filled
    server.faults["sync_fails"] = 1
    items = [new_item(f"0-{index}", 2) for index in range(IDS_EACH)]
    ledger.begins({str(item.id): 2 for item in items})
    with pytest.raises(euclidesdb.AddsInterrupted) as interrupted:
        client.add_many(items)
    assert interrupted.value.refused == ()
    assert [item_id for _, item_id in interrupted.value.unknown] == [item.id for item in items]
    server.faults["sync_fails"] = 0
    wait_for(lambda: takes_writes(client), "a write after syncing works again")
    client.remove("probe")
    check_stored(ledger, client)
    assert client.add_many(items[interrupted.value.resume_at :]) == ()
    for item in items:
        ledger.became(str(item.id), 2)
    check_stored(ledger, client)


def test_a_segment_that_finds_no_room_leaves_nothing_behind_and_is_built_later(filled):
    server, process, client, ledger = filled
    before = sorted((server.data / "segments" / "1").iterdir())
    add_version(client, ledger)
    with grpc.insecure_channel(process.address()) as channel:
        refresh = channel.unary_unary("/euclidesproto.Similar/Shutdown")
        request = legacy.ShutdownRequest(shutdown_type=1).SerializeToString()
        server.faults.fill()
        refresh(request)
        wait_for(partial(build_ended, server, client, 0), "a failed build")
        check_stored(ledger, client)
        assert sorted((server.data / "segments" / "1").iterdir()) == before
        server.faults.make_room()
        refresh(request)
        wait_for(partial(is_at_rest, client), "a build with room")
    check_stored(ledger, client)


@pytest.mark.parametrize(
    ("engine", "step"),
    [
        ("exact", 8),
        ("faiss", 8),
        *(pytest.param(engine, 1, marks=pytest.mark.long) for engine in ENGINES),
    ],
)
def test_a_segment_may_find_no_room_in_any_of_its_calls(filled, step):
    server, process, client, ledger = filled
    failures = 0
    with grpc.insecure_channel(process.address()) as channel:
        refresh = channel.unary_unary("/euclidesproto.Similar/Shutdown")
        request = legacy.ShutdownRequest(shutdown_type=1).SerializeToString()
        for calls in range(step, CALLS_OF_A_SEGMENT + 1, step):
            wait_for(lambda: takes_writes(client), "a write after there was room again")
            client.remove("probe")
            # something to build: what failed may have been repeated as soon as there was room
            add_version(client, ledger)
            failed = failed_builds(server)
            server.faults.fill(calls, names=calls // step % 2 == 0)
            refresh(request)
            wait_for(partial(build_ended, server, client, failed), "the end of a build")
            failures += failed_builds(server) > failed
            server.faults.make_room()
            check_stored(ledger, client)
    assert failures > 3


def add_version(client: euclidesdb.Client, ledger: Ledger) -> None:
    """Write a new version of one item: something to build."""
    version = ledger.next_version() + 1  # all have version 1
    ledger.begins({"0-0": version})
    assert not client.add_many([new_item("0-0", version)])
    ledger.became("0-0", version)


def build_ended(server: FailingServer, client: euclidesdb.Client, failures: int) -> bool:
    """Whether everything is one segment, or more than this number of builds have failed."""
    (model,) = client.models()
    index = model.index
    if index is None or index.building:
        return False
    return failed_builds(server) > failures or is_at_rest(client)


def failed_builds(server: FailingServer) -> int:
    text = server.log.read_text()
    assert "Traceback" not in text
    return text.count("a segment could not be written") + text.count("could not be built")


@pytest.mark.parametrize(
    ("rounds", "buffer_kib"),
    [
        (1, SMALL),
        pytest.param(60, DEFAULT, marks=pytest.mark.long),
        pytest.param(60, SMALL, marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(0)
def test_writers_on_a_disk_that_fills_up_at_any_call_lose_nothing(tmp_path, rounds, buffer_kib):
    chance = random.Random(rounds)
    ledger = Ledger()
    found_no_room: Counter[str] = Counter()
    server = FailingServer(tmp_path, engine="faiss", buffer_kib=buffer_kib)
    for _ in range(rounds):
        with server.start() as process, euclidesdb.Client(process.address(), timeout=30) as client:
            check_stored(ledger, client)
            for _ in range(4):
                writers = write_for_a_while(ledger, process.address(), chance.randrange(1 << 30))
                server.faults.fill(after_some_calls(chance), names=chance.random() < 0.5)
                wait_for(lambda: server.faults["refused"], "a full disk")
                for _ in range(chance.randint(0, 20)):
                    client.find_similar(vector=np.ones(DIM), model=MODEL, top_k=3)  # reads go on
                found_no_room[server.kind_of_fault()] += 1
                server.faults.make_room()
                wait_for(lambda: takes_writes(client), "a write after there was room again")
                for writer in writers:
                    writer.stop()
                client.remove("probe")
                check_stored(ledger, client)
            process.kill()
    print(f"{4 * rounds} times full, {ledger.acknowledged} acknowledged writes, none lost")
    print(summary(found_no_room))


@pytest.mark.parametrize(
    ("step", "buffer_kib"),
    [
        pytest.param(1, DEFAULT, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        pytest.param(1, SMALL, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        (15, SMALL),
    ],
)
def test_a_start_that_meets_a_full_disk_at_any_call_serves_reads(filled, step):
    server, process, _, ledger = filled
    process.kill()
    for calls in range(1, 10_000, step):
        server.faults.fill(calls, names=calls % 2 == 0)
        with server.start() as started:
            check(ledger, started.address())
        felt = server.faults["refused"] > 0
        server.faults.make_room()
        with server.start() as again:
            check(ledger, again.address())
        if not felt:
            break
    assert calls > 2 * step


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(0)]), 8]
)
def test_reads_go_on_if_taking_up_writing_finds_no_room_in_any_of_its_calls(filled, step):
    server, _, client, _ = filled
    names = {f"0-{index}" for index in range(IDS_EACH)}
    for calls in range(1, 10_000, step):
        server.faults.fill()
        with pytest.raises(euclidesdb.EuclidesDBError):
            add_one(client)
        server.faults.make_room()
        server.faults.fill(calls)
        wait_for(lambda: takes_writes(client) or server.faults["refused"], "an attempt")
        for _ in range(2):
            found = client.find_similar(vector=np.ones(DIM), model=MODEL, top_k=20)[MODEL]
            assert names <= {*found.ids}
            assert {name for name in names if client.get(name).attributes["version"] == 1} == names
            takes_writes(client)
        felt = server.faults["refused"] > 0
        server.faults.make_room()
        wait_for(lambda: takes_writes(client), "a write after there was room again")
        if not felt:
            break
    assert calls > 2 * step


@pytest.mark.parametrize("names", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_start_on_a_full_disk_serves_reads_and_writes_when_there_is_room(filled, names):
    server, process, _, ledger = filled
    process.kill()
    server.faults.fill(names=names)
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as client:
        assert "open for reading only" in server.log.read_text()
        for write in (add_one, add_vectors, remove):
            with pytest.raises(euclidesdb.DiskFull):
                write(client)
            check_stored(ledger, client)
        server.faults.make_room()
        wait_for(lambda: takes_writes(client), "a write after there was room again")
        client.remove("probe")
        check_stored(ledger, client)
        again.kill()
    with server.start() as last:
        check(ledger, last.address())


def test_a_start_on_a_full_disk_serves_a_new_model_and_records_it_when_there_is_room(filled):
    server, process, _, ledger = filled
    process.kill()
    other = server.models / "other"
    other.mkdir()
    (other / "model.conf").write_text("[model]\nname = other\ninput = vector\nfeature_dim = 2\n")
    server.faults.fill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as client:
        check_stored(ledger, client)
        with pytest.raises(euclidesdb.DiskFull):
            client.add("new", vectors={"other": [1, 2]})
        assert client.find_similar(vector=[1, 2], model="other")["other"].ids == ()
        server.faults.make_room()
        wait_for(lambda: takes_writes(client), "a write after there was room again")
        client.add("new", vectors={"other": [1, 2]})
        again.kill()
    with server.start() as last, euclidesdb.Client(last.address(), timeout=30) as client:
        assert client.find_similar(vector=[1, 2], model="other")["other"].ids == ("new",)


def test_reads_go_on_and_a_start_serves_them_on_a_disk_that_cannot_sync(filled):
    server, process, client, ledger = filled
    server.faults["sync_fails"] = 1
    ledger.begins({"0-0": None})
    for _ in range(3):
        with pytest.raises(euclidesdb.EuclidesDBError, match="Input/output error"):
            remove(client)
        found = client.find_similar(id="0-1", model=MODEL, top_k=20, include_attributes=True)
        assert len(found[MODEL].ids) == IDS_EACH - 1
        assert client.get("0-1").attributes["version"] == 1
        threading.Event().wait(REOPEN_INTERVAL)  # so that the next write tries to recover
    process.kill()
    with server.start() as again, euclidesdb.Client(again.address(), timeout=30) as other:
        check_stored(ledger, other)
        with pytest.raises(euclidesdb.EuclidesDBError, match="Input/output error"):
            add_one(other)
        server.faults["sync_fails"] = 0
        wait_for(lambda: takes_writes(other), "a write after syncing works again")
        other.remove("probe")
        check_stored(ledger, other)


def test_a_new_store_on_a_full_disk_is_an_error(tmp_path):
    server = FailingServer(tmp_path)
    server.faults.fill()
    with server.start() as failed:
        assert failed.exit_code() == 1
    assert "No space left on device" in server.log.read_text()
    server.faults.make_room()
    with server.start() as again:
        again.address()
