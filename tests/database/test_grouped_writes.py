"""Single items of many calls are written together, and each caller gets its own outcome."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from euclidesdb_server.database.grouped_writes import GroupedWrites
from euclidesdb_server.database.requests import AddRequest, ModelVector
from euclidesdb_server.database.steps import finish
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.errors import InvalidRequest, ShuttingDown, StorageError
from euclidesdb_server.values.item_change import ItemChange
from tests.support.assembled import CALL
from tests.support.waiting import wait_for

TIMEOUT = 60


class HeldWriter:
    """Writes nothing; each batch waits until it is let go."""

    def __init__(self, outcome=None):
        self.batches = []
        self.outcome = outcome
        self.go_on = threading.Semaphore(0)

    def write(self, items, repeated):
        self.batches.append([item.id for item in items])
        assert self.go_on.acquire(timeout=TIMEOUT)
        if isinstance(self.outcome, ZeroDivisionError):
            raise self.outcome
        repeated |= {place for place, item in enumerate(items) if item.request}
        return [self.outcome or ItemChange.ADDED for _ in items]


def item(name, request=None):
    return EmbeddedItem(name, {}, None, None, None, request=request)


def begun(writer, names):
    """The outcomes of writes of which the first is under way alone."""
    grouped = GroupedWrites(cast(Any, writer))
    first = grouped.write(item(names[0]))
    wait_for(lambda: writer.batches, "the first write")
    return grouped, [first, *(grouped.write(item(name)) for name in names[1:])]


def test_what_comes_during_a_write_is_written_together_in_order():
    writer = HeldWriter()
    grouped, outcomes = begun(writer, "abcd")
    writer.go_on.release(2)
    assert [each.result(TIMEOUT).change for each in outcomes] == [ItemChange.ADDED] * 4
    assert writer.batches == [["a"], ["b", "c", "d"]]
    writer.go_on.release()
    assert grouped.write(item("e")).result(TIMEOUT).change is ItemChange.ADDED
    grouped.close()


def test_a_close_writes_what_waits_and_later_writes_are_refused():
    writer = HeldWriter()
    grouped, outcomes = begun(writer, "ab")
    writer.go_on.release(2)
    grouped.close()
    assert all(each.done() for each in outcomes)
    for name in "cd":
        assert isinstance(grouped.write(item(name)).result(TIMEOUT).change, ShuttingDown)
    assert writer.batches == [["a"], ["b"]]


def test_each_caller_gets_an_error_of_its_own():
    writer = HeldWriter(StorageError("the disk is full"))
    grouped, outcomes = begun(writer, "abc")
    writer.go_on.release(2)
    errors = [each.result(TIMEOUT).change for each in outcomes]
    assert [str(error) for error in errors] == ["the disk is full"] * 3
    assert len({*map(id, errors)}) == 3
    grouped.close()


def test_a_fault_of_ours_reaches_every_caller_and_ends_no_later_write():
    writer = HeldWriter(ZeroDivisionError("a fault"))
    grouped, outcomes = begun(writer, "abc")
    writer.go_on.release(2)
    errors = [each.exception(TIMEOUT) for each in outcomes]
    assert {*map(str, errors)} == {"the write of its group failed"}
    assert len({*map(id, errors)}) == 3
    writer.outcome = None
    writer.go_on.release()
    assert grouped.write(item("d")).result(TIMEOUT).change is ItemChange.ADDED
    grouped.close()


def test_a_request_that_was_applied_is_noted_for_its_caller_alone():
    writer = HeldWriter()
    writer.go_on.release(2)
    grouped = GroupedWrites(cast(Any, writer))
    assert grouped.write(item("a", b"key")).result(TIMEOUT).is_repeated
    assert not grouped.write(item("b")).result(TIMEOUT).is_repeated
    grouped.close()


def test_adds_of_one_item_by_many_callers_leave_the_last_one_and_lose_none(database):
    def add(number):
        name = f"item-{number % 3}"
        vectors = {"one": ModelVector(np.array([number, 0], np.float32))}
        return database.features.add(AddRequest(name, vectors=vectors), CALL).change

    with ThreadPoolExecutor(16) as pool:
        changes = [*pool.map(add, range(60))]
    assert sorted(changes) == [ItemChange.ADDED] * 3 + [ItemChange.REPLACED] * 57
    assert len(database.near([0, 0], "one", 10)) == 3


def test_no_step_of_an_add_waits_for_another_write_of_its_item(database):
    vectors = {"one": ModelVector(np.ones(2, np.float32))}
    first = AddRequest("a", vectors=vectors, request_key=b"first of all")
    database.features.add(first, CALL)
    for request in (first, AddRequest("a", vectors=vectors)):
        with database.features.lock_items(["a"]):
            steps = database.features._features.add(request, CALL)
            assert not steps.send(None).future.done()
        assert finish(steps)[0].model == "one"


def test_a_repetition_is_answered_while_others_add_without_end(database):
    vectors = {"one": ModelVector(np.ones(2, np.float32))}
    request = AddRequest("a", vectors=vectors, request_key=b"first of all")
    database.features.add(request, CALL)
    stop = threading.Event()

    def add_others(number):
        count = 0
        while not stop.is_set():
            database.features.add(AddRequest(f"{number}-{count}", vectors=vectors), CALL)
            count += 1

    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(add_others, number) for number in range(8)]
        answers = [pool.submit(database.features.add, request, CALL) for _ in range(20)]
        try:
            assert all(each.result(TIMEOUT)[0].model == "one" for each in answers)
        finally:
            stop.set()
        assert not any(each.result(TIMEOUT) for each in others)


def test_nothing_is_added_once_the_database_is_closed(database):
    database.features.close()
    request = AddRequest("a", vectors={"one": ModelVector(np.ones(2, np.float32))})
    with pytest.raises(ShuttingDown):
        database.features.add(request, CALL)
    with pytest.raises(InvalidRequest):
        database.features.add(AddRequest("", vectors=request.vectors), CALL)
