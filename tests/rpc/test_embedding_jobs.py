"""Models over stored items, through a real server with models that fail, hang and go away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, Picky, gray
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

BLACK, WHITE = gray(0), gray(255)
SECONDS = 300.0
"""After which a job hangs, however loaded the machine is."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "picky", module=Picky(), **MOODY_DIMS, max_wait_ms=0)
    save_model(folder, "moody", module=Moody(), **MOODY_DIMS, max_wait_ms=0, inference_timeout=20)
    save_model(folder, "tiny")
    save_vector_space(folder)
    return folder


@pytest.fixture(scope="module", params=["grpcio", "nghttp2"])
def server(request, tmp_path_factory, models):
    data = tmp_path_factory.mktemp("data")
    with start_server(data, models, server={"transport": request.param}) as server:
        yield server


@contextmanager
def opened(models: Path, data: Path, **options: Any) -> Iterator[euclidesdb.Client]:
    with (
        start_server(data, models, **options) as server,
        euclidesdb.Client(server.address, timeout=SECONDS) as db,
    ):
        yield db


@pytest.fixture
def db(server):
    with euclidesdb.Client(server.address, timeout=SECONDS) as opened:
        yield opened
        for job in opened.jobs():
            opened.cancel_job(job.id)
        opened.remove_many([item.id for item in opened.items()])


def add(db, images, **others):
    items = [
        euclidesdb.NewItem(item_id, image=image, models=["tiny"], **others)
        for item_id, image in images.items()
    ]
    assert not db.add_many(items)


def finished(db, job):
    return db.wait_for_job(job.id, timeout=SECONDS)


def features(db, model):
    return {
        item.id: embedding.vector.tolist()
        for item in db.items(include_vectors=True)
        for embedding in item.embeddings
        if embedding.model == model
    }


def test_a_new_model_runs_over_old_items(db):
    images = {f"{number}": gray(1 + number) for number in range(100)}
    add(db, {**images, "dark": BLACK})
    db.add("without an image", vectors={"given": [1, 2, 3]})
    assert db.count(state="missing", model="picky") == 102
    job = finished(db, db.embed("picky"))
    assert (job.state, job.done, job.failed, job.remaining) == ("succeeded", 100, 1, 0)
    assert job.skipped == {"no_payload": 1}
    assert job.created <= job.finished
    assert (job.model, job.message) == ("picky", "")
    assert [item.id for item in db.items(state="failed")] == ["dark"]
    made = features(db, "picky")
    db.remove_many([*images])
    db.add_many(
        [euclidesdb.NewItem(i, image=image, models=["picky"]) for i, image in images.items()]
    )
    assert made == features(db, "picky"), "as a direct add makes them"
    assert db.find_similar(image=gray(9), model="picky", top_k=1)["picky"].ids[0] == "8"


def test_failed_items_are_tried_again_and_only_these(db):
    add(db, {"dark": BLACK, "white": WHITE, "good": gray(5)})
    finished(db, db.embed("picky", {"$id": {"$ne": "good"}}))
    assert {item.id for item in db.items(state="failed", model="picky")} == {"dark", "white"}
    db.add("white", image=gray(6), models=["tiny"])  # it has not failed on this one
    job = finished(db, db.embed("picky", state="failed"))
    assert (job.done, job.failed) == (0, 1)
    job = finished(db, db.embed("picky", state=["failed", "missing"]))
    assert (job.done, job.failed) == (2, 1)
    assert {*features(db, "picky")} == {"white", "good"}


def test_an_item_that_kills_the_worker_does_not_stop_the_job(db):
    add(db, {"a": gray(3), "poison": WHITE, "b": gray(4)})
    job = finished(db, db.embed("moody"))
    assert (job.state, job.done, job.failed) == ("succeeded", 2, 1)
    (item,) = db.items(state="failed", include_states=True)
    failures = {state.model: state.failure for state in item.states}
    assert (item.id, failures["moody"].reason) == ("poison", "crashed")


def test_what_a_version_cannot_decode_has_failed_on_it(models, tmp_path):
    with opened(models, tmp_path) as db:
        add(db, {"a": gray(3)})
    with opened(models, tmp_path, models_config={"max_image_pixels": 16}) as db:
        job = finished(db, db.embed("picky"))
        assert (job.done, job.failed) == (0, 1)
        (item,) = db.items(state="failed", model="picky", include_states=True)
        reasons = [each.failure.reason for each in item.states if each.failure]
        assert reasons == ["undecodable"]


def test_a_job_waits_for_its_model_and_goes_on(models, tmp_path):
    others = tmp_path / "others"
    others.mkdir()
    (others / "tiny").symlink_to(models / "tiny")
    with opened(models, tmp_path / "data") as db:
        add(db, {"hangs": BLACK, "good": gray(3)})
        job, cancelled = db.embed("moody"), db.embed("moody", "startswith(id(), 'h')")
    with opened(others, tmp_path / "data") as db:
        wait_for(lambda: db.job(job.id).state == "waiting", "the job waits", timeout=SECONDS)
        assert "no model 'moody'" in db.job(job.id).message
        with pytest.raises(euclidesdb.UnknownModel):
            db.embed("moody")
        ended = db.cancel_job(cancelled.id)
        assert (ended.state, ended.is_over) == ("cancelled", True)
        assert db.cancel_job(cancelled.id).finished == ended.finished
        db.remove("hangs")
    with opened(models, tmp_path / "data") as db:
        after = finished(db, job)
        assert (after.state, after.done, after.message) == ("succeeded", 1, "")
        assert db.job(cancelled.id).state == "cancelled"


def test_a_job_that_is_cancelled_keeps_what_it_has_made(db):
    add(db, {"first": gray(3), "hangs": BLACK})
    finished(db, db.embed("moody", {"$id": "first"}))
    job = db.embed("moody")
    cancelled = db.cancel_job(job.id)
    assert cancelled.state == "cancelled"
    assert {*features(db, "moody")} == {"first"}
    assert db.jobs()[0] == cancelled


def test_a_job_that_runs_is_not_started_twice(db):
    add(db, {"hangs": BLACK})
    job = db.embed("moody")
    assert db.embed("moody", state=["superseded", "missing"]).id == job.id
    other = db.embed("moody", "startswith(id(), 'h')")
    assert other.id != job.id
    assert [each.id for each in db.jobs()][:2] == [other.id, job.id]


def test_an_item_that_changes_meanwhile_gets_no_features_of_its_old_image(db):
    add(db, {f"{number}": gray(1 + number) for number in range(60)})
    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            add(db, {f"{number % 60}": gray(100 + number % 60)})
            if number % 7 == 0:
                db.remove_many([f"{number % 60}"])
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        job = finished(db, db.embed("picky"))
    finally:
        stop.set()
        thread.join()
    assert job.state == "succeeded"
    stored = {item.id: item.image for item in db.items(include_payload=True)}
    made = features(db, "picky")
    assert made
    for item_id, vector in made.items():
        expected = [gray(value) == stored[item_id] for value in range(256)].index(True) / 255
        assert np.allclose(vector, expected), item_id


def test_requests_that_make_no_sense_are_refused(db, server):
    for model in ("none", "given"):
        with pytest.raises((euclidesdb.UnknownModel, euclidesdb.InvalidRequest), match=model):
            db.embed(model)
    with pytest.raises(ValueError, match="state = 'odd' should be"):
        db.embed("picky", state="odd")
    with pytest.raises(euclidesdb.InvalidRequest, match="done"):
        db.embed("picky", state="done")
    for call in (db.job, db.cancel_job):
        for job_id in ("999", "x", "1" * 40):
            with pytest.raises(euclidesdb.UnknownJob):
                call(job_id)
    with Stubs(server.address) as stubs:
        request = pb.StartEmbeddingRequest(model="picky", filter=pb.Filter())
        assert refusal(stubs.v1.StartEmbedding, request).reason == "invalid_request"
        request = pb.StartEmbeddingRequest.FromString(b"\n\x05picky\x1a\x01\x4d")  # state 77
        assert refusal(stubs.v1.StartEmbedding, request).reason == "invalid_request"


def test_a_job_goes_on_after_a_restart(models, tmp_path):
    with opened(models, tmp_path) as db:
        add(db, {"hangs": BLACK, **{f"{number}": gray(1 + number) for number in range(80)}})
        job = db.embed("moody")
    with opened(models, tmp_path) as db:
        assert db.job(job.id).created == job.created
        db.remove("hangs")
        after = finished(db, job)
        assert (after.state, after.done) == ("succeeded", 80)
        assert len(features(db, "moody")) == 80
