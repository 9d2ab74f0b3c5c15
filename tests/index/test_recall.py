"""Recall is measured on live queries, in the background; an index describes itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.index import ModelSpace, RecallSampler
from euclidesdb_server.index.recall import WINDOW, RecallMeter
from tests.support.waiting import wait_for


@pytest.fixture
def sampler() -> Iterator[RecallSampler]:
    """Takes a sample of every search, unless it is behind."""
    made = RecallSampler(1e-9)
    yield made
    made.close()


def test_recall_is_the_share_found_of_the_latest_queries():
    meter = RecallMeter()
    assert meter.reading() == (None, 0)
    meter.add(3, 10)
    meter.add(10, 10)
    assert meter.reading() == (0.65, 2)
    for _ in range(WINDOW):
        meter.add(1, 1)
    assert meter.reading() == (1.0, WINDOW)


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
    measured = ModelSpace(
        place.space.record, place.engine, place.store, place.folder / "segments", sampler
    )
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
    measured = ModelSpace(
        place.space.record, place.engine, place.store, place.folder / "segments", sampler
    )
    place.add("a", 1, 0)
    measured.search(np.zeros((1, 2), np.float32), 1)
    assert (measured.status().recall, measured.status().recall_samples) == (1.0, 0)


def test_no_sample_is_taken_before_the_interval_is_over():
    sampler = RecallSampler(1000)
    assert sampler.due(1)
    taken = threading.Event()

    def measure() -> tuple[int, int]:
        taken.set()
        return 1, 1

    sampler.offer(1, RecallMeter(), measure)
    assert taken.wait(30)
    assert not sampler.due(1)
    assert sampler.due(2)
    sampler.close()
    assert not RecallSampler(0).due(1)


def test_a_sample_that_fails_is_logged_and_the_next_is_taken(sampler, caplog):
    meter = RecallMeter()

    def fail() -> tuple[int, int]:
        raise ValueError("no such luck")

    sampler.offer(1, meter, fail)
    wait_for(lambda: "no such luck" in caplog.text, "the log")
    sampler.offer(1, meter, lambda: (1, 1))
    wait_for(lambda: meter.reading() == (1.0, 1), "the next sample")


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
