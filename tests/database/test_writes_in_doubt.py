"""A write that fails on its way to disk is in doubt: it is never called refused.

What is refused was not written. And a write in doubt is resolved before any writer reads its item.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from euclidesdb_server.database import item_locks
from euclidesdb_server.database.grouped_writes import GroupedWrites
from euclidesdb_server.database.requests import UpdateRequest
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError, StorageError, WriteInDoubt
from euclidesdb_server.store.keys import item_key
from tests.database.test_database_recovery import (
    add_in_spite_of,
    log_size,
    no_file_may_grow_beyond,
)
from tests.support.assembled import Database, no_models
from tests.support.failing_sync import FailingSync
from tests.support.waiting import wait_for


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as made:
        for number in range(4):
            made.add(f"{number}", one=[number, 0])
        yield made


def failing(database: Database) -> FailingSync:
    """The next write fails at its sync."""
    sync = FailingSync(database.store)
    sync.may_fail.set()
    return sync


def add(database: Database) -> None:
    database.add("3", one=[30, 0])


def add_vectors(database: Database) -> None:
    for error in database.add_vectors("one", ["3", "new"], [[30, 0], [40, 0]]).values():
        raise error


def add_another(database: Database) -> None:
    database.add("new", one=[40, 0])


def remove(database: Database) -> None:
    database.features.remove("3")


def remove_many(database: Database) -> None:
    for error in database.features.remove_many(["3"]).errors.values():
        raise error


def update(database: Database) -> None:
    database.features.update(UpdateRequest("3", merge_json='{"n": 1}'))


WRITES = [add, add_vectors, add_another, remove, remove_many, update]


@pytest.mark.parametrize("write", WRITES)
def test_the_write_that_fails_is_in_doubt_and_is_there_after_the_recovery(database, write):
    failing(database)
    with pytest.raises(WriteInDoubt, match="it may be on disk or not"):
        write(database)
    before = {"0": 0, "1": 1, "2": 2, "3": 3}
    assert {found.id: found.distance for found in database.near([0, 0], "one")} == before
    add_in_spite_of(database, "after")
    if write is update:
        assert database.get("3").attributes_json == '{"n":1}'
    expected: dict[str, float] = before | {"after": 0.5}
    if write in (remove, remove_many):
        del expected["3"]
    if write in (add, add_vectors):
        expected["3"] = 30
    if write in (add_another, add_vectors):
        expected["new"] = 40
    assert {found.id: found.distance for found in database.near([0, 0], "one")} == expected


@pytest.mark.parametrize("write", WRITES)
def test_what_is_refused_after_a_failure_is_not_in_doubt_and_not_written(tmp_path, database, write):
    with no_file_may_grow_beyond(log_size(tmp_path)):
        with pytest.raises(WriteInDoubt):
            database.add("0", one=[0, 0.25])
        with pytest.raises(StorageError, match="nothing can be written for now") as refused:
            write(database)
    assert not isinstance(refused.value, WriteInDoubt)
    add_in_spite_of(database, "after")
    assert database.ids([0, 0], "one") == ["0", "after", "1", "2", "3"]
    assert database.vectors("3") == {"one": [3, 0]}


def test_every_item_of_a_bulk_add_that_fails_is_in_doubt(database):
    failing(database)
    errors = database.add_vectors("one", ["a", "b"], [[1, 1], [2, 2]])
    assert {row: type(error) for row, error in errors.items()} == {0: WriteInDoubt, 1: WriteInDoubt}


def test_writers_that_share_a_sync_that_fails_are_all_in_doubt(database):
    """The first is on its way while the others queue, and fail with a group of their own.

    One that comes so late that it does not queue makes writing possible again, and succeeds.
    """
    sync = FailingSync(database.store)
    errors: dict[int, DatabaseError] = {}

    def write(number: int) -> None:
        try:
            database.add(f"{number}", one=[number, 1])
        except DatabaseError as error:
            errors[number] = error

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    threads[0].start()
    assert sync.begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    sync.may_fail.set()
    for thread in threads:
        thread.join()
    doubted = [number for number, error in errors.items() if isinstance(error, WriteInDoubt)]
    assert doubted == [0], "only the group that was on its way is in doubt"
    add_in_spite_of(database, "after")
    written = {0} | {number for number in range(4) if number not in errors}  # 0 was on disk
    found = {number: database.vectors(f"{number}")["one"] for number in range(4)}
    assert found == {number: [number, float(number in written)] for number in range(4)}


def test_an_item_for_which_no_label_could_be_reserved_is_refused(tmp_path):
    """The record of labels failed on its way to disk; the item was never sent there."""
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as database:
        with no_file_may_grow_beyond(log_size(tmp_path)), pytest.raises(StorageError) as refused:
            database.add("new", one=[1, 0])
        assert str(refused.value).startswith("reserving labels: a write failed: ")
        assert "it may be on disk" not in str(refused.value)
        assert not isinstance(refused.value, WriteInDoubt)
        add_in_spite_of(database, "after")
        assert database.ids([0, 0], "one") == ["after"]


def test_a_space_that_could_not_be_recorded_is_recorded_later(tmp_path, database):
    failing(database)
    made = [database.store.open_space("two", "version 1", 3)]
    add_in_spite_of(database, "after")
    made.append(database.store.open_space("other", "version 1", 4))
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as reopened:
        assert reopened.store.spaces()[1:] == made


@pytest.mark.parametrize("first", [add, add_vectors, remove, update])
@pytest.mark.parametrize("second", [add, add_vectors, remove_many, update])
def test_a_writer_never_reads_an_item_whose_write_is_in_doubt(tmp_path, database, first, second):
    """The second waits for the item while the first one's write fails."""
    sync = FailingSync(database.store)
    outcomes: list[type[Exception] | None] = []

    def run(write: Callable[[Database], None]) -> None:
        try:
            write(database)
        except DatabaseError as error:
            outcomes.append(type(error))
        else:
            outcomes.append(None)

    threads = [threading.Thread(target=run, args=(write,)) for write in (first, second)]
    threads[0].start()
    assert sync.begun.wait(60)
    threads[1].start()
    wait_for(lambda: waiting_writes(database) == 1, "the second writer behind the first")
    sync.may_fail.set()
    for thread in threads:
        thread.join(60)
    assert item_key("3") not in sync.reads
    assert outcomes[0] is WriteInDoubt
    database.add("3", one=[33, 0])
    found = {neighbor.id: neighbor.distance for neighbor in database.near([33, 0], "one")}
    assert found["3"] == 0
    assert len(database.near([33, 0], "one")) == len(found), "an item is found twice"
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}) as reopened:
        again = {neighbor.id: neighbor.distance for neighbor in reopened.near([33, 0], "one")}
        assert again == found


def waiting_writes(database: Database) -> int:
    """How many wait for the lock of their item, or for the thread that writes single items."""
    frames = [*sys._current_frames().values()]
    at_lock = sum(frame.f_code.co_filename == item_locks.__file__ for frame in frames)
    writing = {GroupedWrites._write.__code__, Writer.write.__code__}
    is_busy = any(writing <= {each.f_code for each in stack(frame)} for frame in frames)
    return at_lock + is_busy * database.features._features._adder._grouped._waiting.qsize()


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
