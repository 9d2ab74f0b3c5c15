"""A folder with `input = vector`, and the search engine that a model.conf chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import InvalidRequest, ModelLoadError
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.inference.model_folder import read_model_folder
from euclidesdb_server.values.metric import L2
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState
from tests.support.vector_spaces import save_vector_space


def folder(root: Path, text: str, name: str = "given", feature_dim: int = 3) -> Path:
    return save_vector_space(root, name, feature_dim=feature_dim, more=text)


def test_a_space_of_vectors_is_ready_at_once_and_runs_nothing(tmp_path):
    folder(tmp_path, "")
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    model = registry.models["given"]
    assert model.wait_until_started(0)
    assert model.state == (ModelState.READY, "")
    assert (model.folder.conf.feature_dim, model.folder.conf.prediction_dim) == (3, 0)
    with pytest.raises(InvalidRequest, match="'given' takes ready-made vectors, not 'image'"):
        model.embed(Payload("image", b""))
    registry.close()


@pytest.mark.parametrize("key", ["filename", "image_size", "max_batch_size", "labels"])
def test_a_key_that_needs_a_program_is_refused_without_one(tmp_path, key):
    says = rf"given/model.conf: \[model\] {key} does not apply to input = vector"
    with pytest.raises(ModelLoadError, match=says):
        read_model_folder(folder(tmp_path, f"{key} = 1\n"))


def test_an_unknown_key_is_named_with_those_of_a_space_of_vectors(tmp_path):
    says = r"\[model\] has no key 'dim'; its keys are name, feature_dim, input, version, search_eng"
    with pytest.raises(ModelLoadError, match=says):
        read_model_folder(folder(tmp_path, "dim = 1\n"))


def test_a_model_with_a_program_has_no_version_key(tmp_path):
    (tmp_path / "model.conf").write_text(
        "[model]\nname = a\nfilename = a.pt\nprediction_dim = 0\nfeature_dim = 1\nversion = 2\n"
    )
    with pytest.raises(ModelLoadError, match=r"\[model\] version does not apply to input = image"):
        read_model_folder(tmp_path)


def fingerprint(root: Path, text: str, **keys: Any) -> str:
    return read_model_folder(folder(root, text, **keys)).fingerprint


@pytest.mark.parametrize(
    ("text", "keys"), [("version = 2\n", {}), ("", {"feature_dim": 4})], ids=str
)
def test_another_version_or_length_is_another_space(tmp_path, text, keys):
    assert fingerprint(tmp_path, text, **keys) != fingerprint(tmp_path, "")


@pytest.mark.parametrize(
    ("text", "keys"),
    [("search_engine = annoy\n[annoy]\ntrees = 3\n", {}), ("", {"name": "renamed"})],
    ids=str,
)
def test_another_engine_or_name_is_the_same_space(tmp_path, text, keys):
    assert fingerprint(tmp_path, text, **keys) == fingerprint(tmp_path, "")


def test_a_model_that_configures_no_engine_uses_the_servers(tmp_path):
    engines = Engines("annoy", {"annoy": {"metric": "l2"}}, tmp_path / "server.conf")
    assert read_model_folder(folder(tmp_path, ""), engines).engine is engines.default


def test_options_in_model_conf_go_before_those_of_the_server(tmp_path):
    engines = Engines("annoy", {"annoy": {"metric": "l2", "trees": "7"}}, tmp_path / "server.conf")
    own = read_model_folder(folder(tmp_path, "[annoy]\ntrees = 3\n"), engines).engine
    assert (own.name, own.metric, own.build_options["trees"]) == ("annoy", L2, 3)
    assert engines.default.build_options["trees"] == 7


def test_another_engine_has_the_options_that_the_server_gives_it(tmp_path):
    engines = Engines("annoy", {"faiss": {"index_type": "HNSW16"}}, tmp_path / "server.conf")
    own = read_model_folder(folder(tmp_path, "search_engine = faiss\n"), engines).engine
    assert (own.name, own.build_options["index_type"]) == ("faiss", "HNSW16")


def test_a_model_may_have_another_engine_than_the_server(tmp_path):
    engines = Engines("annoy", {"faiss": {"index_type": "HNSW16"}}, tmp_path / "server.conf")
    text = "search_engine = faiss\n[faiss]\nmetric = cosine\n"
    own = read_model_folder(folder(tmp_path, text), engines).engine
    assert own.name == "faiss"
    assert own.build_options == {
        **own.build_options,
        "index_type": "HNSW16",
        "metric": "cosine",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "search_engine = milvus\n",
            r"\[model\] search_engine = 'milvus' is not one of annoy, exact",
        ),
        (
            "[milvus]\nx = 1\n",
            r"unknown section \[milvus\]; the sections are \[model\], \[annoy",
        ),
        ("[annoy]\ntree = 1\n", r"\[annoy\] has no key 'tree'"),
        ("[faiss]\nmetric = hamming\n", r"\[faiss\] metric = 'hamming'"),
        (
            "search_engine = faiss\n[faiss]\nindex_type = PQ2\n",  # 2 does not divide 3
            r"\[faiss\] index_type = 'PQ2' cannot be used for vectors of 3",
        ),
    ],
)
def test_a_folder_with_an_invalid_engine_is_refused_with_the_reason(tmp_path, text, says):
    folder(tmp_path, "", "good")
    bad = folder(tmp_path, text, "bad")
    with pytest.raises(ModelLoadError, match=says) as caught:
        read_model_folder(bad)
    assert str(bad / "model.conf") in str(caught.value)
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    assert [*registry.models] == ["good"]
    assert [*registry.broken] == ["bad"]
    registry.close()
