"""What a job writes of its items when others write them while the model runs."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.database.embedding_jobs.job import Job
from euclidesdb_server.database.embedding_jobs.progress import Progress
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.store import JobRecord
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from tests.support.stores import vector


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
