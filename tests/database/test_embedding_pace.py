"""How many items of jobs a model gets at a time, with and without callers."""

from __future__ import annotations

from typing import Any

import pytest

from euclidesdb_server.database.embedding_jobs import pace as pacing
from euclidesdb_server.database.embedding_jobs.pace import Pace


class Counting:
    """What a pace reads of a model."""

    def __init__(self) -> None:
        self.run_counts = (1000, 10)
        self.queue_length = 0

    def run(self, items: int) -> None:
        self.run_counts = (self.run_counts[0] + items, self.run_counts[1] + 1)


@pytest.fixture
def model() -> Any:
    return Counting()


@pytest.fixture
def pace(model):
    return Pace(model)


def chunk(pace, model, seconds_per_item):
    """Let a chunk be run; returns its size and how long the model is left to others."""
    size = pace.next_chunk()
    model.run(size)
    pace.note(size, size * seconds_per_item)
    return size, pace.rest


def test_without_callers_the_chunks_grow_to_the_most(pace, model):
    assert pace.step_size == 1
    chunks = [chunk(pace, model, 0.0001) for _ in range(7)]
    assert chunks == [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (32, 0), (32, 0)]
    assert pace.step_size == 32


def test_a_slow_model_gets_few_items_at_a_time(pace, model):
    assert [chunk(pace, model, 0.02)[0] for _ in range(4)] == [1, 2, 2, 2]
    assert pace.step_size == 25
    chunk(pace, model, 3.0)
    assert chunk(pace, model, 3.0) == (1, 0)
    assert pace.step_size == 1


@pytest.mark.parametrize("when", ["waiting", "between chunks", "within a chunk"])
def test_while_callers_use_the_model_it_gets_one_item_and_rests(pace, model, when):
    for _ in range(6):
        chunk(pace, model, 0.0001)
    if when == "waiting":
        model.queue_length = 1
    elif when == "between chunks":
        model.run(1)
    else:
        size = pace.next_chunk()
        model.run(size + 1)
        pace.note(size, size * 0.01)
    assert chunk(pace, model, 0.01) == (1, 0.01)
    assert chunk(pace, model, 30.0) == (1, pacing.MAX_REST)


def test_chunks_grow_again_when_callers_have_left(pace, model, monkeypatch):
    chunk(pace, model, 0.0001)
    model.run(1)
    assert chunk(pace, model, 0.0001) == (1, 0.0001)
    monkeypatch.setattr(pacing, "CALLERS_STAY", 0.0)
    model.run(1)
    assert [chunk(pace, model, 0.0001) for _ in range(2)] == [(2, 0), (4, 0)]


@pytest.mark.parametrize(("waiting", "size"), [(1, 1), (31, 1), (100, 6), (100_000, 32)])
def test_the_more_callers_wait_the_more_items_a_job_has_among_them(pace, model, waiting, size):
    for _ in range(6):
        chunk(pace, model, 0.0001)
    model.queue_length = waiting
    assert chunk(pace, model, 0.01)[0] == size
