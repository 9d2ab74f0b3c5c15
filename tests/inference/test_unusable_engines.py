"""A search engine that cannot index vectors costs what it concerns: a model, or the start."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

import euclidesdb
from euclidesdb_server.errors import ConfigError, StartupError
from tests.support.errors import error_message
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

PQ16: Any = {"engine": "faiss", "engines": {"faiss": {"index_type": "PQ16"}}}
HNSW0 = "search_engine = faiss\n[faiss]\nindex_type = HNSW0\n"


def add(client, model, dim, count=20):
    vectors = np.random.default_rng(0).standard_normal((count, dim), np.float32)
    assert not client.add_vectors([f"item-{row}" for row in range(count)], vectors, model=model)
    return vectors


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def test_a_folder_that_the_servers_engine_cannot_index_is_reported_and_others_are_served(
    tmp_path, models
):
    save_vector_space(models, "fits", feature_dim=32)
    odd = save_vector_space(models, "odd", feature_dim=100)
    with (
        start_server(tmp_path / "data", models, **PQ16) as server,
        euclidesdb.Client(server.address) as client,
    ):
        states = {info.name: info for info in client.models()}
        assert (states["fits"].state, states["odd"].state) == ("ready", "quarantined")
        assert states["odd"].reason == (
            f"{odd / 'model.conf'}: [model] feature_dim = 100: options: [faiss] index_type = "
            "'PQ16' cannot be used for vectors of 100 under l2: The dimension of the vector (d) "
            "should be a multiple of the number of subquantizers (M)"
        )
        vectors = add(client, "fits", 32)
        found = client.find_similar(vector=vectors[3], model="fits")["fits"]
        assert found.ids[0] == "item-3"
    with pytest.raises(StartupError, match=r"--strict: .*folder 'odd': "):
        start_server(tmp_path / "data", models, strict=True, **PQ16)


def test_a_single_folder_of_another_length_does_not_keep_the_server_down(tmp_path, models):
    save_vector_space(models, "odd", feature_dim=100)
    with (
        start_server(tmp_path / "data", models, **PQ16) as server,
        euclidesdb.Client(server.address) as client,
    ):
        assert [info.state for info in client.models()] == ["quarantined"]


def test_a_space_without_a_folder_that_the_engine_cannot_index_is_searched_exactly(
    tmp_path, models
):
    save_vector_space(models, "fits", feature_dim=32)
    odd = save_vector_space(models, "odd", feature_dim=100)
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
    ):
        vectors = add(client, "odd", 100)
    shutil.rmtree(odd)
    with (
        start_server(tmp_path / "data", models, **PQ16) as server,
        euclidesdb.Client(server.address) as client,
    ):
        assert {info.name: info.engine for info in client.models()}["odd"] == "exact"
        assert client.find_similar(vector=vectors[3], model="odd")["odd"].ids[0] == "item-3"


@pytest.mark.parametrize(
    "section",
    [
        {"index_type": "HNSW0"},
        # the reasons are those of tests/engines/test_trials.py
        pytest.param({"index_type": "RR0,Flat"}, marks=pytest.mark.long),
        pytest.param({"index_type": "PQ8x0"}, marks=pytest.mark.long),
        pytest.param({"index_type": "IVF16(PQ4),Flat"}, marks=pytest.mark.long),
        {"index_type": "HNSW8", "ef_search": str(1 << 40)},
    ],
    ids=lambda section: ",".join(section.values()),
)
def test_options_that_can_never_work_are_a_configuration_error(tmp_path, models, section):
    save_vector_space(models, feature_dim=32)
    message = error_message(
        ConfigError, start_server, tmp_path / "data", models, engine="faiss",
        engines={"faiss": section},
    )  # fmt: skip
    assert message.startswith(f"options: [faiss] index_type = {section['index_type']!r}")
    if "ef_search" in section:
        assert f"ef_search = {1 << 40}" in message


def test_options_in_a_model_conf_that_can_never_work_cost_only_that_model(tmp_path, models):
    save_vector_space(models, "good", feature_dim=32)
    bad = save_vector_space(models, "bad", feature_dim=32, more=HNSW0)
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
    ):
        states = {info.name: info for info in client.models()}
        assert (states["good"].state, states["bad"].state) == ("ready", "quarantined")
        named = f"{bad / 'model.conf'}: [model] feature_dim = 32: [faiss] index_type = 'HNSW0'"
        assert states["bad"].reason.startswith(named)


def test_a_reload_with_options_that_can_never_work_is_refused(tmp_path, models):
    save_vector_space(models, "given", feature_dim=32)
    with (
        start_server(tmp_path / "data", models) as server,
        euclidesdb.Client(server.address) as client,
    ):
        vectors = add(client, "given", 32)
        save_vector_space(models, "given", feature_dim=32, more=HNSW0)
        with pytest.raises(euclidesdb.ModelRejected, match="index_type = 'HNSW0' cannot be used"):
            client.reload_model("given")
        assert client.find_similar(vector=vectors[3], model="given")["given"].ids[0] == "item-3"
