"""ItemLocks: one writer at a time per item, in the order in which they came."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from euclidesdb_server.database.item_locks import ItemLocks


class Writer:
    """A thread that locks items as soon as it can, and holds them until `end`."""

    def __init__(self, locks: ItemLocks, *ids: str) -> None:
        self.holds, self._end = threading.Event(), threading.Event()
        self._locks = locks
        self._ids = ids
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._locks.of(self._ids):
            self.holds.set()
            assert self._end.wait(60)

    def end(self) -> None:
        self._end.set()
        if self.holds.is_set():
            self._thread.join()

    def join(self) -> None:
        self._thread.join(60)


class Writers:
    """Starts writers, and ends them all after the test."""

    def __init__(self, locks: ItemLocks) -> None:
        self._locks = locks
        self._all: list[Writer] = []

    def holding(self, *ids: str) -> Writer:
        writer = Writer(self._locks, *ids)
        self._all.append(writer)
        assert writer.holds.wait(60)
        return writer

    def waiting(self, *ids: str) -> Writer:
        before = len(self._locks._waiting)
        writer = Writer(self._locks, *ids)
        self._all.append(writer)
        while len(self._locks._waiting) == before:
            assert not writer.holds.is_set()
            threading.Event().wait(0.001)
        return writer

    def end(self) -> None:
        for writer in self._all:
            writer.end()
        for writer in self._all:
            writer.join()


@pytest.fixture
def locks() -> ItemLocks:
    return ItemLocks()


@pytest.fixture
def writers(locks: ItemLocks) -> Iterator[Writers]:
    made = Writers(locks)
    yield made
    made.end()
    assert (locks._held, locks._waiting) == (set(), [])


def test_writers_of_other_items_do_not_wait(writers):
    for ids in (["a", "b"], ["c"], []):
        writers.holding(*ids)


def test_a_writer_waits_until_all_of_its_items_are_free(writers):
    first, second = writers.holding("a"), writers.holding("c")
    both = writers.waiting("a", "b", "c")
    first.end()
    assert not both.holds.is_set()
    second.end()
    assert both.holds.wait(60)


def test_the_writer_that_waits_longest_is_next(writers):
    first, second, third = writers.holding("a"), writers.waiting("a"), writers.waiting("a")
    first.end()
    assert second.holds.wait(60)
    assert not third.holds.is_set()
    second.end()
    assert third.holds.wait(60)


def test_a_bulk_load_is_not_overtaken_by_later_writers_of_its_items(writers):
    first = writers.holding("a")
    bulk = writers.waiting("a", "b")
    later = writers.waiting("b")  # it is free, but the bulk load came first
    first.end()
    assert bulk.holds.wait(60)
    assert not later.holds.is_set()
    bulk.end()
    assert later.holds.wait(60)


def test_items_are_released_when_the_write_fails(locks, writers):
    with pytest.raises(ValueError, match="failed"), locks.of(["a"]):
        raise ValueError("failed")
    writers.holding("a")
