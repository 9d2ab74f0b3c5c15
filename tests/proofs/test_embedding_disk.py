"""A job on a disk that is full for a while, or whose power fails: it waits, says so, and goes on.

Its counts are those of the items, and every item has the features of its payload.
"""

from __future__ import annotations

import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import euclidesdb
from tests.support.disk_faults import DiskFaults, power_cut
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.programs import MOODY_DIMS, Picky, gray
from tests.support.waiting import wait_for

ITEMS = 200
FAILING = {f"{number}" for number in range(ITEMS) if number % 10 == 3}
TIMEOUT = 300.0


def value(number: int) -> int:
    return 0 if f"{number}" in FAILING else 1 + number


@pytest.fixture
def models(tmp_path):
    save_model(tmp_path / "models", "picky", module=Picky(), **MOODY_DIMS, max_batch_size=8)
    save_model(tmp_path / "models", "tiny")
    return tmp_path / "models"


def serving(models: Path, faults: DiskFaults) -> ServerProcess:
    return ServerProcess(
        "--models", models, "--data", faults.root, "--address", "127.0.0.1:0",
        log=models.parent / "log", environment=faults.environment,
    )  # fmt: skip


def add_items(db: euclidesdb.Client) -> None:
    assert not db.add_many(
        euclidesdb.NewItem(f"{number}", image=gray(value(number)), models=["tiny"])
        for number in range(ITEMS)
    )


def has_dealt_with(db: euclidesdb.Client, job_id: str, count: int) -> bool:
    job = db.job(job_id)
    return job.done + job.failed >= count


def check_finished(db: euclidesdb.Client, job_id: str) -> None:
    job = db.wait_for_job(job_id, timeout=TIMEOUT)
    counts = (job.state, job.done, job.failed)
    assert counts == ("succeeded", ITEMS - len(FAILING), len(FAILING))
    failed = [*db.items(state="failed", model="picky", include_states=True)]
    assert {item.id for item in failed} == FAILING
    reasons = {state.failure.reason for item in failed for state in item.states if state.failure}
    assert reasons == {"raised"}
    for item in db.items("exists(picky.vector)", include_vectors=True):
        (vector,) = [each.vector for each in item.embeddings if each.model == "picky"]
        assert vector is not None
        assert np.allclose(vector, value(int(item.id)) / 255)


def test_a_job_waits_while_the_disk_is_full_and_says_so(models, tmp_path):
    faults = DiskFaults(tmp_path / "data", tmp_path / "faults")
    with (
        serving(models, faults) as server,
        euclidesdb.Client(server.address(), timeout=TIMEOUT) as db,
    ):
        add_items(db)
        job_id = db.embed("picky").id
        wait_for(partial(has_dealt_with, db, job_id, 1), "a first step", timeout=TIMEOUT)
        faults.fill()
        wait_for(lambda: db.job(job_id).state == "waiting", "the job waits", timeout=TIMEOUT)
        assert "No space left" in db.job(job_id).message
        with pytest.raises(euclidesdb.EuclidesDBError, match="No space left"):
            db.embed("tiny", state="failed")
        with pytest.raises(euclidesdb.EuclidesDBError, match="No space left"):
            db.cancel_job(job_id)
        assert db.job(job_id).state in {"waiting", "running"}
        faults.make_room()
        check_finished(db, job_id)


def test_a_job_that_could_not_be_cancelled_is_as_it_is_stored(models, tmp_path):
    """The write of the cancellation fails on its way to disk: it may be there or not."""
    faults = DiskFaults(tmp_path / "data", tmp_path / "faults")
    with (
        serving(models, faults) as server,
        euclidesdb.Client(server.address(), timeout=TIMEOUT) as db,
    ):
        add_items(db)
        job_id = db.embed("picky").id
        faults["sync_fails"] = 1
        with pytest.raises(euclidesdb.EuclidesDBError):
            db.cancel_job(job_id)
        faults["sync_fails"] = 0
        job = db.wait_for_job(job_id, timeout=TIMEOUT)
        assert job.state in {"cancelled", "succeeded"}
        assert db.count(state="done", model="picky") == job.done
        assert db.count(state="failed", model="picky") == job.failed
        server.kill()
    with (
        serving(models, faults) as server,
        euclidesdb.Client(server.address(), timeout=TIMEOUT) as db,
    ):
        assert db.job(job_id) == job


@pytest.mark.parametrize(
    ("seed", "dealt_with"), [(0, 1), (1, 100), pytest.param(2, ITEMS, marks=pytest.mark.long)]
)
def test_a_job_goes_on_after_a_power_cut(models, tmp_path, seed, dealt_with):
    faults = DiskFaults(tmp_path / "data", tmp_path / "faults", traced=True)
    before = Path(shutil.copytree(faults.root, tmp_path / "before"))
    with (
        serving(models, faults) as server,
        euclidesdb.Client(server.address(), timeout=TIMEOUT) as db,
    ):
        add_items(db)
        job = db.embed("picky")
        wait_for(partial(has_dealt_with, db, job.id, dealt_with), "some steps", timeout=TIMEOUT)
        reached = db.job(job.id)
        server.kill()
    after = tmp_path / "after"
    power_cut(faults, before, after, random.Random(seed))
    shutil.rmtree(faults.root)
    after.rename(faults.root)
    with (
        serving(models, DiskFaults(faults.root, tmp_path / "others")) as server,
        euclidesdb.Client(server.address(), timeout=TIMEOUT) as db,
    ):
        found = db.job(job.id)
        assert (found.created, found.fingerprint) == (job.created, job.fingerprint)
        assert (found.done, found.failed) >= (reached.done, reached.failed)
        check_finished(db, job.id)
