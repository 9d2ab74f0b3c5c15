"""`euclidesdb embed` and `euclidesdb jobs`, with models that fail and hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, Picky, gray
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

DARK = gray(0)
SECONDS = 300.0


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    models = folder / "models"
    save_model(models, "picky", module=Picky(), **MOODY_DIMS, max_wait_ms=0)
    save_model(models, "moody", module=Moody(), **MOODY_DIMS, max_wait_ms=0, inference_timeout=100)
    save_model(models, "tiny")
    save_vector_space(models)
    with start_server(folder / "data", models, strict=True) as server:
        yield server.address


@pytest.fixture
def shared_server(address):
    """The server that `command` and `db` use here."""
    return address


@pytest.fixture(autouse=True)
def items(db):
    """Items without features of `picky` and `moody`: 0 to 3, and one that both fail on."""
    for number in range(4):
        add(db, f"{number}", gray(10 + number), number)
    add(db, "dark", DARK, 9)
    yield
    for job in db.jobs():
        db.cancel_job(job.id)
    db.remove_many(filter={"$id": {"$exists": True}})


def add(db, item_id, image, number):
    db.add(item_id, image=image, models=["tiny"], attributes={"n": number})


def objects(ran):
    return [json.loads(line) for line in ran.out.splitlines()]


def test_embed_runs_a_model_over_stored_items(command, db):
    ran = command("embed", "picky", "--where", "n < 9")
    job = db.jobs()[0]
    assert (ran.code, ran.out, ran.err) == (0, f"job {job.id}: succeeded (4 done)\n", "")
    assert db.count(state="done", model="picky") == 4


def test_embed_tells_of_items_that_the_model_failed_on(command, db):
    ran = command("embed", "picky")
    assert ran.code == 1
    assert ran.out.endswith(": succeeded (4 done, 1 failed)\n")
    add(db, "new", gray(7), 1)
    ran = command("embed", "picky", "--state", "failed", "--json")
    (job,) = objects(ran)
    assert (ran.code, job["done"], job["failed"]) == (1, 0, 1), "the new item has not failed"
    ran = command("embed", "picky", "--state", "missing", "--state", "superseded")
    assert (ran.code, ran.out.partition(": ")[2]) == (0, "succeeded (1 done)\n")


def test_embed_prints_json(command):
    (job,) = objects(command("embed", "picky", "--where", "n == 3", "--json"))
    expected = {"state": "succeeded", "message": "", "model": "picky", "done": 1, "failed": 0}
    assert expected.items() <= job.items()
    assert (job["remaining"], job["skipped"]) == (0, {})
    assert job["created"] <= job["finished"]


def test_embed_counts_what_it_skipped(command, db):
    db.add("without", vectors={"given": [1, 2, 3]}, attributes={"n": 20})
    ran = command("embed", "picky", "--where", "n == 20")
    assert (ran.code, ran.out.partition(": ")[2]) == (
        0, "succeeded (0 done, 1 skipped (no_payload))\n",
    )  # fmt: skip


def test_embed_without_waiting_leaves_the_job_to_the_server(command, db):
    ran = command("embed", "moody", "--no-wait", "--json")
    (job,) = objects(ran)
    assert (ran.code, job["state"], job["finished"]) == (0, "running", None)
    assert db.job(job["id"]).state == "running"


def test_jobs_lists_jobs_and_ends_one(command, db):
    db.wait_for_job(db.embed("picky").id, timeout=SECONDS)
    hanging = db.embed("moody")
    ran = command("jobs")
    header, first, second, *_ = ran.out.splitlines()
    assert header.split() == ["id", "model", "state", "created", "(UTC)", "items", "remark"]
    assert first.split()[:3] == [hanging.id, "moody", "running"]
    assert "4 done, 1 failed" in second
    (ended,) = objects(command("jobs", "--cancel", hanging.id, "--json"))
    assert (ended["id"], ended["state"]) == (hanging.id, "cancelled")
    listed = objects(command("jobs", "--json"))
    assert listed[0] == ended
    assert [job["model"] for job in listed[:2]] == ["moody", "picky"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("embed", "nothing"), 1, "nothing"),
        (("embed", "given"), 1, "takes vectors alone"),
        (("embed", "picky", "--where", "n < "), 1, "of the filter"),
        (("embed", "picky", "--state", "done"), 2, "'done' is not one of"),
        (("embed",), 2, "MODEL"),
        (("jobs", "--cancel", "999"), 1, "no job 999"),
        (("jobs", "--cancel", "x\x1by"), 1, "x"),
    ],
)
def test_mistakes_are_named(command, arguments, code, message):
    ran = command(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert all(each.isprintable() or each == "\n" for each in ran.err)


@pytest.fixture
def interruptible():
    """Processes started by the test heed SIGINT, even if this one ignores it (`nohup ... &`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def displayed(address, db):
    """A process of `embed moody`, which hangs, and the id of its job."""
    known = {job.id for job in db.jobs()}

    def started():
        return {job.id for job in db.jobs()} - known

    with subprocess.Popen(
        [sys.executable, "-m", "euclidesdb_server", "embed", "moody"],
        env={**os.environ, "EUCLIDESDB_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for(started, "the job is started", timeout=SECONDS)
            (job_id,) = started()
            yield process, job_id
        finally:
            process.kill()


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_display_and_says_how_to_go_on(address, db):
    with displayed(address, db) as (process, job_id):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    assert f"job {job_id} goes on; `euclidesdb jobs` shows it" in err
    assert f"`euclidesdb jobs --cancel {job_id}` ends it" in err
    assert "Traceback" not in err
    assert db.job(job_id).state == "running"


def test_a_job_that_is_cancelled_elsewhere_ends_the_display(address, db):
    with displayed(address, db) as (process, job_id):
        db.cancel_job(job_id)
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert out.startswith(f"job {job_id}: cancelled (")
