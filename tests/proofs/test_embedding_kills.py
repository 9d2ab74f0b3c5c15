"""SIGKILL while a model runs over stored items: after the restart, the job finishes by itself.

Every item has the state and the features that a direct add gives it, and the job's counts are those
of the items.
"""

from __future__ import annotations

import numpy as np
import pytest

import euclidesdb
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.programs import MOODY_DIMS, Picky, gray
from tests.support.waiting import wait_for

ITEMS = 600
KILLS = (1, 300, 599)
"""The server is killed when so many items have been dealt with."""
TIMEOUT = 300.0


def image(number: int) -> bytes:
    return gray(0 if number % 10 == 3 else 1 + number % 254)


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "models", "picky", module=Picky(), **MOODY_DIMS, max_batch_size=8)
    save_model(tmp_path / "models", "tiny")
    return tmp_path


def serving(folder):
    return ServerProcess(
        "--models", folder / "models", "--data", folder / "data", "--address", "127.0.0.1:0",
        log=folder / "log",
    )  # fmt: skip


def added(db: euclidesdb.Client) -> str:
    """Add the items, and start the job; returns its id."""
    items = [
        euclidesdb.NewItem(f"{number}", image=image(number), models=["tiny"])
        for number in range(ITEMS)
    ]
    assert not db.add_many(items)
    return db.embed("picky").id


def wait_until_dealt_with(db: euclidesdb.Client, job_id: str, count: int) -> None:
    def is_reached() -> bool:
        job = db.job(job_id)
        return job.done + job.failed >= count

    wait_for(is_reached, f"{count} items", timeout=TIMEOUT)


@pytest.mark.timeout(1500)  # it starts four servers
def test_a_job_finishes_however_often_the_server_is_killed(folder):
    job_id = ""
    for kill in KILLS:
        with serving(folder) as server:
            with euclidesdb.Client(server.address(), timeout=TIMEOUT) as db:
                job_id = job_id or added(db)
                wait_until_dealt_with(db, job_id, kill)
            server.kill()
            assert not server.orphans()
    with serving(folder) as server, euclidesdb.Client(server.address(), timeout=TIMEOUT) as db:
        job = db.wait_for_job(job_id, timeout=TIMEOUT)
        failing = {f"{number}" for number in range(ITEMS) if number % 10 == 3}
        counts = (job.state, job.done, job.failed)
        assert counts == ("succeeded", ITEMS - len(failing), len(failing))
        assert {item.id for item in db.items(state="failed", model="picky")} == failing
        for item in db.items("exists(picky.vector)", include_vectors=True):
            (vector,) = [each.vector for each in item.embeddings if each.model == "picky"]
            assert vector is not None
            assert np.allclose(vector, (1 + int(item.id) % 254) / 255)
