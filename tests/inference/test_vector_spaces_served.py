"""Servers of ready-made vectors, through the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.errors import StartupError
from euclidesdb_server.inference import ModelRegistry
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

VECTORS = np.random.default_rng(0).random((40, 3), np.float32)
IDS = [f"item-{row}" for row in range(len(VECTORS))]
EXACT = "all rows"
"""How the engine `exact` describes its segment."""
FAISS = "search_engine = faiss\n[faiss]\nindex_type = {}\n"

ALONE = """
import json, pathlib, sys, time
import psutil
import euclidesdb
from tests.support.servers import start_server
begun = time.process_time()  # a loaded machine does not change it
with start_server(*map(pathlib.Path, sys.argv[1:])) as server:
    seconds = time.process_time() - begun
    with euclidesdb.Client(server.address) as client:
        client.add("one", vectors={"given": [1.0, 2.0, 3.0]})
        found = client.find_similar(vector=[1.0, 2.0, 3.5], model="given")["given"]
    children = len(psutil.Process().children(recursive=True))
imported = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([seconds, found.ids, found.distances.tolist(), children, imported]))
"""


def test_a_server_of_vectors_starts_within_two_seconds_without_worker_or_torch(tmp_path):
    save_vector_space(tmp_path / "models")
    command = [sys.executable, "-c", ALONE, tmp_path / "data", tmp_path / "models"]
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[2]
    )
    seconds, ids, distances, children, imported = json.loads(finished.stdout)
    assert (ids, distances) == (["one"], [0.5])
    assert children == 0
    assert not {"torch", "PIL"} & {*imported}
    assert seconds < 2


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Of a server with one space, `given`; the fewest threads there may be are enough for it."""
    folder = tmp_path_factory.mktemp("given")
    save_vector_space(folder / "models")
    with (
        start_server(folder / "data", folder / "models", server={"threads": 2}) as server,
        euclidesdb.Client(server.address) as client,
    ):
        yield client


def test_the_list_of_models_tells_that_it_takes_vectors(client):
    (info,) = client.models()
    assert (info.name, info.state, info.reason, info.input) == ("given", "ready", "", "vector")
    assert (info.feature_dim, info.prediction_dim, info.labels) == (3, 0, ())


def test_an_image_cannot_be_added_to_a_space_of_vectors(client):
    with pytest.raises(euclidesdb.InvalidRequest, match="'given' takes ready-made vectors, not 'i"):
        client.add("image", image=b"GIF89a", models=["given"])
    with pytest.raises(euclidesdb.UnknownItem):
        client.get("image")


def test_a_space_of_vectors_cannot_be_searched_with_an_image(client):
    with pytest.raises(euclidesdb.InvalidRequest, match="'given' takes ready-made vectors, not 'i"):
        client.find_similar(image=b"GIF89a", models=["given"])


def test_a_search_with_an_image_that_names_no_model_passes_over_spaces_of_vectors(client):
    with pytest.raises(euclidesdb.ModelUnavailable, match="no model that takes images is ready"):
        client.find_similar(image=b"GIF89a")


class Restarted:
    """A data folder with `VECTORS`, served anew under each model.conf."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def serve(self, more: str):
        save_vector_space(self._folder / "models", more=more)
        return start_server(
            self._folder / "data",
            self._folder / "models",
            index={"compact_rows": 8},
        )


@pytest.fixture
def restarted(tmp_path):
    restarted = Restarted(tmp_path)
    with restarted.serve("") as server, euclidesdb.Client(server.address) as client:
        client.add_vectors(IDS, VECTORS, model="given")
        built(client, EXACT)
    return restarted


def built(client: euclidesdb.Client, description: str) -> euclidesdb.ModelInfo:
    """The index of the space once its segment is there."""

    def is_indexed() -> bool:
        (info,) = client.models()
        shown = info.index and (info.index.description, info.index.indexed_rows)
        return shown == (description, len(IDS))

    wait_for(is_indexed, "the segment")
    (info,) = client.models()
    assert info.items == len(IDS)
    return info


def test_another_engine_in_model_conf_builds_another_segment_of_the_same_space(restarted):
    with restarted.serve("") as server, euclidesdb.Client(server.address) as client:
        before = built(client, EXACT)
    more = FAISS.format("HNSW8") + "metric = cosine\n"
    with restarted.serve(more) as server, euclidesdb.Client(server.address) as client:
        after = built(client, "HNSW8")
        assert (after.engine, after.metric) == ("faiss", "cosine")
        assert after.fingerprint == before.fingerprint
        assert client.find_similar(vector=VECTORS[7], model="given")["given"].ids[0] == "item-7"


def test_another_version_begins_an_empty_space_that_takes_no_vectors_of_the_old(restarted):
    with restarted.serve("") as server, euclidesdb.Client(server.address) as client:
        old = client.models()[0].fingerprint
    with restarted.serve("version = 2\n") as server, euclidesdb.Client(server.address) as client:
        assert client.models()[0].items == 0
        assert client.find_similar(vector=VECTORS[0], model="given")["given"].ids == ()
        with pytest.raises(euclidesdb.VersionMismatch, match=f"is of version '{old}'"):
            client.find_similar(vector=VECTORS[0], model="given", fingerprint=old)
    with restarted.serve("") as server, euclidesdb.Client(server.address) as client:
        built(client, EXACT)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (FAISS.format("Nonsense"), r"\[faiss\] index_type = 'Nonsense' cannot be used"),
        (FAISS.format("PQ2"), r"\[faiss\] index_type = 'PQ2' cannot be used for vectors of 3"),
        ("search_engine = fais\n", r"\[model\] search_engine = 'fais' is not one of annoy"),
    ],
)
def test_a_wrong_engine_in_a_model_conf_costs_only_that_model(tmp_path, more, says):
    save_vector_space(tmp_path / "models", "good")
    bad = save_vector_space(tmp_path / "models", "bad", more=more)
    with (
        start_server(tmp_path / "data", tmp_path / "models") as server,
        euclidesdb.Client(server.address) as client,
    ):
        states = {info.name: info for info in client.models()}
        assert (states["bad"].state, states["good"].state) == ("quarantined", "ready")
        assert states["bad"].reason.startswith(f"{bad / 'model.conf'}: ")
    with pytest.raises(StartupError, match=f"--strict: .*folder 'bad': .*{says}"):
        start_server(tmp_path / "data", tmp_path / "models", strict=True)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be divided")
def test_a_model_shares_no_cores_with_spaces_of_vectors(tmp_path, tiny_models):
    shutil.copytree(tiny_models / "tiny", tmp_path / "tiny")
    for name in ("a", "b"):
        save_vector_space(tmp_path, name)
    others = workers()  # of servers that other tests keep
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    try:
        wait_for(lambda: len(workers()) > len(others), "the worker")
        (worker,) = set(workers()) - set(others)
        threads = worker.environ()["OMP_NUM_THREADS"]
    finally:
        registry.close()
    assert int(threads) == len(os.sched_getaffinity(0))


def workers() -> list[psutil.Process]:
    """Those that this process has started."""
    children = psutil.Process().children()
    return [child for child in children if "euclidesdb_server.worker" in child.cmdline()]
