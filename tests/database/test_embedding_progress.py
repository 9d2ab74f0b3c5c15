"""Which items a job has, and what it writes of them when others write them meanwhile."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from euclidesdb_server.database.embedding_jobs import EmbeddingJobs, JobRequest
from euclidesdb_server.database.embedding_jobs.job import Job
from euclidesdb_server.database.embedding_jobs.progress import Progress
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.store import JobRecord
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from tests.support.assembled import EMBEDDERS, Database
from tests.support.stores import vector
from tests.support.waiting import wait_for


@pytest.fixture
def writer(database):
    publisher = Publisher(database.models, database.compactor, database.table)
    return Writer(database.store, publisher, keep_payloads=True)


@pytest.fixture
def job(database):
    record = database.spaces["one"].record
    return Job(JobRecord(1, "one", record.fingerprint, record.number, b"", ("missing",), 10, 0))


def made(database, item_id, digest=b""):
    embedding = Embedding(vector(5.0, 5.0), np.zeros(0, np.float32))
    return EmbeddedItem(item_id, {database.spaces["one"]: embedding}, payload_digest=digest)


def failed(database, item_id):
    failure = Failure.now("raised", "it does not like it")
    return EmbeddedItem(item_id, {}, payload_digest=b"", failures={database.spaces["one"]: failure})


@pytest.mark.parametrize("outcome", [made, failed])
def test_a_vector_that_was_added_while_the_model_ran_stays(database, writer, job, outcome):
    database.add("a", one=[1.0, 2.0])
    database.add("b", two=[1.0, 2.0, 3.0])
    items = [outcome(database, "a"), made(database, "b")]
    writer.write_unchanged(items, Progress(job, 9, {}, may_change=True))
    assert database.vectors("a") == {"one": [1.0, 2.0]}
    assert database.vectors("b")["one"] == [5.0, 5.0]
    assert (job.record.done, job.record.failed, job.record.position) == (1, 0, 9)


def test_a_failure_counts_when_it_is_written_though_the_step_goes_on(database, writer, job):
    for item_id in "ab":
        database.add(item_id, two=[1.0, 2.0, 3.0])
    progress = Progress(job, 9, {"no_payload": 1}, may_change=True)
    writer.write_unchanged([failed(database, "a"), made(database, "b", b"of another")], progress)
    assert progress.changed == ["b"]
    assert database.store.jobs.get(1) == job.record
    assert (job.record.failed, job.record.position, job.record.skipped) == (1, 0, {})
    writer.write_unchanged(
        [made(database, "b")], Progress(job, 9, {"no_payload": 1}, may_change=True)
    )
    assert (job.record.done, job.record.failed, job.record.position) == (1, 1, 9)
    assert job.record.skipped == {"no_payload": 1}


def test_a_job_has_what_was_acknowledged_before_it_though_an_older_write_is_in_flight(
    registry, tmp_path
):
    with Database(tmp_path, registry, EMBEDDERS) as database:
        jobs = EmbeddingJobs(
            database.store,
            database.models,
            database.table,
            database.features._features.job_steps,
            lambda _: pytest.fail("there is no filter"),
        )
        with closing(jobs), database.store.labels.allocate():
            database.add_image("a", 1, "color")
            number = jobs.start(JobRequest("gray")).record.number
            wait_for(lambda: jobs.get(number).record.state != "running", "the job is over")
            assert jobs.get(number).record.done == 1
        assert {*database.vectors("a")} == {"color", "gray"}
