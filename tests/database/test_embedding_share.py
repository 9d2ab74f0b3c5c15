"""An embedding job makes progress, however busy callers keep its model, and leaves most to them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest

from euclidesdb_server.database.embedding_jobs import EmbeddingJobs, JobRequest, step
from euclidesdb_server.database.embedding_jobs.pace import CALLERS_PER_ITEM
from euclidesdb_server.errors import Overloaded
from euclidesdb_server.inference.request_queue import RequestQueue
from tests.support.assembled import EMBEDDERS, Database, registry_with
from tests.support.crowded import CALLERS, Crowded
from tests.support.waiting import wait_for

ITEMS = 40


@contextmanager
def jobs_of(database: Database) -> Iterator[EmbeddingJobs]:
    jobs = EmbeddingJobs(
        database.store,
        database.models,
        database.table,
        database.features._features.job_steps,
        lambda _: pytest.fail("there is no filter"),
    )
    try:
        yield jobs
    finally:
        jobs.close()


@pytest.fixture
def opened(registry, tmp_path):
    @contextmanager
    def open_with(**options):
        with Crowded(registry.models["gray"], **options) as gray:
            models = registry_with(registry, gray=gray)
            with Database(tmp_path, models, {**EMBEDDERS, "given": 2}) as database:
                for number in range(ITEMS):
                    database.add_image(f"{number}", number, "color")
                    database.add(f"without an image {number}", given=[1.0, 2.0])
                with jobs_of(database) as jobs:
                    yield gray, jobs

    return open_with


def record_of(jobs):
    (status,) = jobs.all()
    return status.record


@pytest.mark.parametrize("callers", [1, CALLERS_PER_ITEM, 4 * CALLERS_PER_ITEM])
def test_a_job_makes_progress_though_callers_keep_the_queue_full(opened, callers):
    with opened(callers=callers) as (gray, jobs):
        jobs.start(JobRequest("gray"))
        wait_for(lambda: record_of(jobs).state != "running", "the job is over")
        assert (record_of(jobs).done, record_of(jobs).failed) == (ITEMS, 0)
        most = max(1, callers // CALLERS_PER_ITEM)
        runs = ((work is CALLERS, work) for work in gray.run)
        turns = [(who, len([*works])) for who, works in groupby(runs, lambda run: run[0])]
        assert max(count for is_caller, count in turns if not is_caller) <= most
        between = sum(count for is_caller, count in turns[1:-1] if is_caller)
        assert between >= (callers - 1) * (ITEMS // most - 1)


def test_an_item_of_a_job_takes_no_place_of_a_caller():
    queue = RequestQueue("model 'm'", 2)
    for number in range(3):
        queue.put(number, beyond_limit=True)
    queue.put("a caller's")
    queue.put("another caller's")
    with pytest.raises(Overloaded, match="has 2 items waiting"):
        queue.put("one too many")
    queue.put(3, beyond_limit=True)
    assert len(queue) == 6


def test_what_a_job_has_made_is_recorded_in_time_though_its_step_has_more(opened, monkeypatch):
    """The model falls silent at the fourth item of a step that was planned with 32."""
    monkeypatch.setattr(step, "STEP_SECONDS", 0.0)
    silent, count = threading.Event(), 0

    def before(_):
        nonlocal count
        count += 1
        if count == 4:
            silent.wait()

    with opened(before=before) as (_, jobs):
        jobs.start(JobRequest("gray"))
        try:
            wait_for(lambda: record_of(jobs).done == 3, "three items are recorded")
            assert record_of(jobs).skipped == {"no_payload": 3}, "those that come before the fourth"
        finally:
            silent.set()
        wait_for(lambda: record_of(jobs).state != "running", "the job is over")
        assert record_of(jobs).done == ITEMS
        assert record_of(jobs).skipped == {"no_payload": ITEMS}
        assert count == ITEMS
