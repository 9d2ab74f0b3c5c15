"""Jobs while the world around them changes: models, items, other jobs, the server itself."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import euclidesdb
from euclidesdb_server.__main__ import main
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, Picky, gray
from tests.support.servers import start_server
from tests.support.waiting import wait_for

BLACK, WHITE = gray(0), gray(255)
SECONDS = 300.0


class Doubled(Picky):
    """Another version of Picky: its features are twice as large."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3]) * 2
        return means[:, :0], torch.cat([means, means[:, :1]], dim=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "picky", module=Picky(), **MOODY_DIMS, max_wait_ms=0)
    save_model(folder, "moody", module=Moody(), **MOODY_DIMS, max_wait_ms=0, inference_timeout=10)
    save_model(folder, "tiny")
    return folder


@pytest.fixture
def models(made, tmp_path):
    return shutil.copytree(made, tmp_path / "models")


@contextmanager
def opened(data: Path, models: Path, **options: Any) -> Iterator[euclidesdb.Client]:
    with (
        start_server(data, models, **options) as server,
        euclidesdb.Client(server.address, timeout=SECONDS) as db,
    ):
        yield db


def add(db, images):
    items = [
        euclidesdb.NewItem(each, image=image, models=["tiny"]) for each, image in images.items()
    ]
    assert not db.add_many(items)


def grays(count, start=1):
    return {f"{number}": gray(start + number) for number in range(count)}


def features(db, model):
    return {
        item.id: embedding.vector
        for item in db.items(include_vectors=True)
        for embedding in item.embeddings
        if embedding.model == model
    }


def wait_until(db, job, state):
    wait_for(lambda: db.job(job.id).state == state, f"the job is {state}", timeout=SECONDS)
    return db.job(job.id)


def test_a_job_never_runs_another_version_than_its_own(models, tmp_path):
    with opened(tmp_path / "data", models) as db:
        add(db, {"hangs": BLACK, **grays(40)})
        job = db.embed("moody")
        shutil.copytree(models / "moody", tmp_path / "first")
        shutil.rmtree(models / "moody")
        save_model(models, "moody", module=Doubled(), **MOODY_DIMS)
        db.reload_model("moody")
        refusal = f"version {job.fingerprint!r} of model 'moody' is not in service"
        wait_for(lambda: refusal in db.job(job.id).message, "the job waits", timeout=SECONDS)
        assert db.job(job.id).state == "waiting"
        other = db.wait_for_job(db.embed("moody").id, timeout=SECONDS)
        assert (other.state, other.done) == ("succeeded", 41)
        assert other.fingerprint != job.fingerprint
        assert np.allclose(features(db, "moody")["9"], 20 / 255)
        db.remove("hangs")
        shutil.rmtree(models / "moody")
        shutil.copytree(tmp_path / "first", models / "moody")
        db.reload_model("moody")
        after = db.wait_for_job(job.id, timeout=SECONDS)
        assert (after.state, after.done) == ("succeeded", 40)
        vectors: dict[str, Any] = {
            each.fingerprint: each.vector for each in db.get("9", include_vectors=True).embeddings
        }
        assert np.allclose(vectors[job.fingerprint][:3], 10 / 255)
        assert np.allclose(vectors[other.fingerprint], 20 / 255)


def test_a_job_whose_version_is_dropped_fails(models, tmp_path):
    with opened(tmp_path / "data", models) as db:
        add(db, {"hangs": BLACK})
        job = db.embed("moody")
        shutil.rmtree(models / "moody")
        save_model(models, "moody", module=Doubled(), **MOODY_DIMS)
        db.reload_model("moody")
        wait_until(db, job, "waiting")
        db.drop_model_version(f"moody@{job.fingerprint}")
        after = db.wait_for_job(job.id, timeout=SECONDS)
        assert (after.state, after.message) == (
            "failed", f"version {job.fingerprint!r} has been dropped",
        )  # fmt: skip


def test_two_jobs_of_one_model_share_the_items(models, tmp_path):
    with opened(tmp_path / "data", models) as db:
        add(db, {**grays(120), "dark": BLACK})
        low = db.embed("picky", {"$id": {"$in": [f"{number}" for number in range(80)]}})
        jobs = [low, db.embed("picky")]
        first, second = (db.wait_for_job(job.id, timeout=SECONDS) for job in jobs)
        assert (first.state, second.state) == ("succeeded", "succeeded")
        assert (first.done + second.done, first.failed, second.failed) == (120, 0, 1)
        assert second.done >= 40
        made = features(db, "picky")
        assert len(made) == 120
        assert all(np.allclose(made[f"{n}"], (1 + n) / 255) for n in range(120))


def test_no_item_gets_features_of_an_old_payload_at_full_speed(models, tmp_path):
    """Writers replace, update, remove and add while the job runs again and again."""
    count = 200
    with opened(tmp_path / "data", models) as db:
        add(db, grays(count))
        stop = threading.Event()
        errors = []

        def write(seed):
            chance = np.random.default_rng(seed)
            while not stop.is_set():
                try:
                    one_write(db, chance)
                except euclidesdb.UnknownItem:
                    pass
                except Exception as error:
                    errors.append(error)
                    raise

        def one_write(db, chance):
            item_id = f"{chance.integers(count)}"
            match chance.integers(4):
                case 0:
                    db.remove(item_id)
                case 1:
                    db.update(item_id, merge={"n": int(chance.integers(9))})
                case _:
                    add(db, {item_id: gray(int(chance.integers(1, 255)))})

        threads = [threading.Thread(target=write, args=[seed]) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                job = db.wait_for_job(db.embed("picky").id, timeout=SECONDS)
                assert (job.state, job.failed) == ("succeeded", 0)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not errors
        stored = {item.id: item.image or b"" for item in db.items(include_payload=True)}
        values = {gray(value): value / 255 for value in range(256)}
        made = features(db, "picky")
        assert made
        for item_id, vector in made.items():
            assert np.allclose(vector, values[stored[item_id]]), item_id
        db.wait_for_job(db.embed("picky").id, timeout=SECONDS)
        assert features(db, "picky").keys() == stored.keys()


def test_a_job_that_runs_at_a_backup_goes_on_in_the_restored_server(models, tmp_path, capsys):
    data, place, restored = tmp_path / "data", tmp_path / "place", tmp_path / "restored"
    with start_server(data, models) as server, euclidesdb.Client(server.address) as db:
        add(db, {"first": gray(9), "hangs": BLACK, **grays(40)})
        with pytest.raises(euclidesdb.EmbeddingFailed):
            db.add("white", image=WHITE, models=["picky"])
        ended = db.wait_for_job(db.embed("picky", {"$id": "first"}).id, timeout=SECONDS)
        job = db.embed("moody")
        failed = db.get("white", include_states=True).states
        assert main(["backup", str(place), "--address", server.address]) == 0
        db.remove("hangs")
    arguments = ["--database-path", str(restored), "--models-path", str(tmp_path / "others")]
    assert main(["restore", str(place), *arguments]) == 0
    capsys.readouterr()
    assert main(["verify", "--data", str(restored)]) == 0
    with opened(restored, tmp_path / "others") as db:
        assert db.get("white", include_states=True).states == failed
        assert [item.id for item in db.items(state="failed")] == ["white"]
        assert db.job(ended.id) == ended
        assert db.job(job.id).created == job.created
        db.remove_many(["hangs", "white"])
        after = db.wait_for_job(job.id, timeout=SECONDS)
        assert (after.state, after.done) == ("succeeded", 41)
        assert len(features(db, "moody")) == 41


def test_a_long_filter_is_refused(models, tmp_path):
    with opened(tmp_path / "data", models) as db:
        add(db, grays(2))
        with pytest.raises(euclidesdb.InvalidRequest, match="that of a job may have 16,384"):
            db.embed("picky", {"$id": {"$in": [f"{number:09}" for number in range(3000)]}})
        assert db.jobs() == ()


def test_a_hundred_jobs_run_and_a_hundred_that_are_over_are_kept(models, tmp_path):
    with opened(tmp_path / "data", models) as db:
        add(db, {"hangs": BLACK})
        jobs = [db.embed("moody", {"$id": {"$nin": [f"{number}"]}}) for number in range(100)]
        with pytest.raises(euclidesdb.InvalidRequest, match="100 jobs are running"):
            db.embed("moody")
        for job in jobs:
            db.cancel_job(job.id)
        latest = db.embed("picky", {"$id": "nothing"})
        db.wait_for_job(latest.id, timeout=SECONDS)
        kept = [job.id for job in db.jobs()]
        assert (len(kept), kept[0]) == (100, latest.id)
        with pytest.raises(euclidesdb.UnknownJob):
            db.job(jobs[0].id)


def test_a_server_stops_at_once_while_a_model_hangs_on_an_item_of_a_job(models, tmp_path):
    conf = models / "moody" / "model.conf"
    conf.write_text(conf.read_text().replace("inference_timeout = 10", "inference_timeout = 200"))
    server = start_server(tmp_path / "data", models)
    with server, euclidesdb.Client(server.address, timeout=SECONDS) as db:
        add(db, {"hangs": BLACK})
        db.embed("moody")
        stopped = threading.Thread(target=server.close)
        stopped.start()
        stopped.join(100)
        assert not stopped.is_alive()
