"""Many threads add, update and remove while others search: what no answer may ever show."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from euclidesdb_server.errors import UnknownItem
from tests.support.assembled import OFTEN, Database, no_models
from tests.support.ledger import Ledger
from tests.support.stores import stored_rows

WRITERS = 4
UPDATED = [f"updated {number}" for number in range(12)]
CONTENDED = [f"contended {number}" for number in range(4)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Compacts all the time."""
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2}, index=OFTEN) as made:
        yield made


@pytest.fixture(params=[60, pytest.param(1000, marks=pytest.mark.long)])
def rounds(request: pytest.FixtureRequest) -> int:
    """Of writes by each writer."""
    count: int = request.param
    return count


def write(database: Database, ledger: Ledger, writer: int, rounds: int) -> None:
    dice = random.Random(writer)
    for turn in range(rounds):
        position = dice.randrange(-3, 4)
        database.add(dice.choice(UPDATED), one=[position, 0])
        own = f"own {writer} {turn}"
        ledger.begins({own: 1})
        database.add(own, one=[position, 1])
        ledger.became(own, 1)
        contended = dice.choice(CONTENDED)
        if dice.random() < 0.5:
            database.add(contended, one=[0, position])
        else:
            with suppress(UnknownItem):
                database.features.remove(contended)
        if turn >= 5:
            old = f"own {writer} {turn - 5}"
            ledger.begins({old: None})
            database.features.remove(old)
            ledger.became(old, None)


def search(database: Database, ledger: Ledger, done: threading.Event) -> int:
    """Searches and checks until done; returns how many."""
    searches = 0
    while not done.is_set() or searches == 0:
        present_before, removed_before = ledger.present(), ledger.removed()
        found = database.ids([0, 0], "one", 1000)
        present_after = ledger.present()
        answer = set(found)
        assert len(found) == len(answer), "an id came twice"
        assert not removed_before & answer, "a removed item was found"
        missed = {*UPDATED, *(present_before & present_after)} - answer
        assert not missed, "an item that was there all along was missed"
        searches += 1
    return searches


def run_all(
    database: Database, rounds: int, *readers: Callable[[threading.Event], int]
) -> list[int]:
    """Run the writers, and the readers until the last writer has ended."""
    ledger, done = Ledger(), threading.Event()
    for item_id in UPDATED:
        database.add(item_id, one=[0, 0])
    with ThreadPoolExecutor(WRITERS + 2 + len(readers)) as threads:
        reading = [threads.submit(search, database, ledger, done) for _ in range(2)]
        reading += [threads.submit(reader, done) for reader in readers]
        writing = [
            threads.submit(write, database, ledger, number, rounds) for number in range(WRITERS)
        ]
        try:
            for future in writing:
                future.result()
        finally:
            done.set()
        return [future.result() for future in reading]


def test_no_search_shows_an_id_twice_or_a_removed_one_or_misses_one_that_is_updated(
    database, rounds
):
    assert all(run_all(database, rounds))
    assert database.compactor.wait_idle(60)
    assert database.spaces["one"].backlog()[1] > 0  # segments were built meanwhile


def test_an_item_that_is_updated_is_never_unknown(database, rounds):
    def read(done: threading.Event) -> int:
        reads = 0
        while not done.is_set():
            item_id = UPDATED[reads % len(UPDATED)]
            ((embedding),) = database.get(item_id).embeddings
            assert embedding.vector is not None
            assert database.ids(item_id, "one", 1, include_self=True) == [item_id]
            reads += 1
        return reads

    run_all(database, rounds, read)


def test_afterwards_searches_and_store_agree_also_after_a_restart(tmp_path, database, rounds):
    run_all(database, rounds)
    number = database.spaces["one"].record.number

    def check(checked: Database) -> list[tuple[str, float]]:
        found = [(n.id, n.distance) for n in checked.near([0, 0], "one", 1000)]
        stored = {item_id for item_id, _ in stored_rows(checked.store, number, 2).values()}
        assert {item_id for item_id, _ in found} == stored
        assert len(checked.spaces["one"]) == len(stored)
        for item_id in stored:
            assert checked.near(item_id, "one", 1, include_self=True)[0].distance == 0
        return found

    before = check(database)
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as reopened:
        assert sorted(check(reopened)) == sorted(before)
