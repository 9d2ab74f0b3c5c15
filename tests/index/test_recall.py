"""Recall is measured on live queries, in the background; an index describes itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.index import RecallSampler
from euclidesdb_server.index.recall import WINDOW, RecallMeter
from tests.support.waiting import wait_for


@pytest.fixture
def sampler() -> Iterator[RecallSampler]:
    """Takes a sample of every search, unless it is behind."""
    made = RecallSampler(1e-9, max_share=1.0)
    yield made
    made.close()


def test_recall_is_the_share_found_of_the_latest_queries():
    meter = RecallMeter()
    first, second = 1, 2
    meter.begin(first)
    assert meter.reading(first) == (None, 0)
    meter.add(first, 3, 10)
    meter.add(first, 10, 10)
    assert meter.reading(first) == (0.65, 2)
    for _ in range(WINDOW):
        meter.add(first, 1, 1)
    assert meter.reading(first) == (1.0, WINDOW)
    assert meter.reading(second) == (None, 0)  # other segments
    meter.begin(second)
    meter.add(first, 0, 10)  # a search that began before the change
    assert meter.reading(second) == (None, 0)


def has_samples(space, count):
    return space.status().recall_samples == count


def test_the_recall_of_a_lossy_index_is_that_of_its_answers(place, sampler):
    """PQ1x4 tells rows apart so badly that it must miss some; the truth is computed here."""
    generator = np.random.default_rng(0)
    place.engine = FaissEngine(FaissOptions(index_type="PQ1x4", rerank=1))
    place.reopen()
    rows = generator.standard_normal((2000, 2)).astype(np.float32)
    for index, row in enumerate(rows):
        place.add(f"{index}", *row)
    place.space.compact()
    measured = place.opened(place.space.record, sampler=sampler)
    assert measured.status().recall is None
    found = wanted = 0
    for count, query in enumerate(generator.standard_normal((20, 2)).astype(np.float32), 1):
        ids = measured.search(query[None], 10).ids
        wait_for(partial(has_samples, measured, count), "a sample")
        nearest = np.argsort(np.linalg.norm(rows - query, axis=1))[:10]
        found += len({f"{row}" for row in nearest} & set(ids))
        wanted += 10
    status = measured.status()
    assert status.recall == pytest.approx(found / wanted)
    assert status.recall is not None
    assert status.recall < 0.9
    assert status.description == "PQ1x4"


def test_exact_spaces_need_no_samples(place, sampler):
    measured = place.opened(place.space.record, sampler=sampler)
    place.add("a", 1, 0)
    measured.search(np.zeros((1, 2), np.float32), 1)
    assert (measured.status().recall, measured.status().recall_samples) == (1.0, 0)


def test_no_sample_is_taken_before_the_interval_is_over():
    sampler = RecallSampler(1000, max_share=1.0)
    assert sampler.due(1)
    taken = threading.Event()

    sampler.offer(1, taken.set)
    assert taken.wait(30)
    assert not sampler.due(1)
    assert sampler.due(2)
    sampler.close()
    assert not RecallSampler(0).due(1)


def test_sampling_takes_no_more_than_its_share_of_a_core():
    sampler = RecallSampler(1e-9, max_share=1e-3)
    done = threading.Event()

    def measure() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        done.set()

    sampler.offer(1, measure)
    assert done.wait(30)
    wait_for(lambda: not sampler.due(2), "the rest")  # no space is sampled for 50 s
    sampler.close()


def test_a_sample_that_fails_is_logged_and_the_next_is_taken(sampler, caplog):
    taken = threading.Event()

    def fail() -> None:
        raise ValueError("no such luck")

    sampler.offer(1, fail)
    wait_for(lambda: "no such luck" in caplog.text, "the log")
    sampler.offer(1, taken.set)
    assert taken.wait(30)


def test_an_index_describes_itself(place):
    place.add("a", 1, 0)
    status = place.space.status()
    assert (status.indexed_rows, status.unindexed_rows, status.building) == (0, 1, False)
    assert "not built yet" in status.description
    with place.compacting():
        assert place.space.status().building
    status = place.space.status()
    assert (status.indexed_rows, status.unindexed_rows, status.building) == (1, 0, False)
    assert status.description == "all rows"
    place.reopen()
    assert place.space.status().description == "all rows"


def test_deleted_rows_do_not_count_as_unindexed(place):
    for number in range(5):
        place.add(f"{number}", number, 0)
    place.remove("1")
    place.add("2", 7, 0)
    assert place.space.status().unindexed_rows == 4
    with place.compacting():
        pass
    place.remove("3")
    assert place.space.status().unindexed_rows == 0


def test_rows_without_a_segment_wait_in_memory_and_are_searched(place):
    for number in range(5):
        place.add(f"{number}", number, 0)
    place.reopen()
    status = place.space.status()
    assert (status.indexed_rows, status.unindexed_rows) == (0, 5)
    assert "not built yet" in status.description
    assert place.space.backlog() == (5, 0)
    place.remove("0")
    assert place.names() == ["1", "2", "3", "4"]
    place.space.compact()
    assert place.space.backlog() == (0, 4)


def test_a_segment_newer_than_the_store_is_not_used(place):
    """The store was put back to an earlier state, or is another one."""
    for number in range(3):
        place.add(f"{number}", number, 0)
    place.space.compact()
    place.store.close()
    for file in (place.folder / "leveldb").iterdir():
        file.unlink()
    place._open()
    assert place.names() == []
    assert place.generations() == []
