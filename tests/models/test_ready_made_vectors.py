"""A folder with `input = vector`, and the search engine that a model.conf chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from euclidesdb_server.config import ModelsConfig
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import InvalidRequest, ModelLoadError
from euclidesdb_server.models import ModelRegistry
from euclidesdb_server.models.conf import read_model_folder
from euclidesdb_server.types import L2, ModelState, Payload


def folder(root: Path, text: str, name: str = "given") -> Path:
    made = root / name
    made.mkdir(parents=True, exist_ok=True)
    head = f"[model]\nname = {name}\ninput = vector\nfeature_dim = 3\n"
    (made / "model.conf").write_text(head + text)
    return made


def test_a_space_of_vectors_is_ready_at_once_and_runs_nothing(tmp_path):
    folder(tmp_path, "")
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    model = registry.get("given")
    assert model.wait_until_settled(0)
    assert model.state == (ModelState.READY, "")
    assert (model.folder.conf.feature_dim, model.folder.conf.prediction_dim) == (3, 0)
    with pytest.raises(InvalidRequest, match="'given' takes ready-made vectors, not 'image'"):
        model.embed(Payload("image", b""))
    registry.close()


@pytest.mark.parametrize("key", ["filename", "image_size", "max_batch_size", "labels", "nonsense"])
def test_a_key_that_makes_no_sense_without_a_program_is_named(tmp_path, key):
    with pytest.raises(ModelLoadError, match=rf"\[model\] has no key '{key}'"):
        read_model_folder(folder(tmp_path, f"{key} = 1\n"))


def test_a_version_is_no_key_of_a_model_with_a_program(tmp_path):
    (tmp_path / "model.conf").write_text(
        "[model]\nname = a\nfilename = a.pt\nprediction_dim = 0\nfeature_dim = 1\nversion = 2\n"
    )
    with pytest.raises(ModelLoadError, match=r"\[model\] has no key 'version'"):
        read_model_folder(tmp_path)


def test_the_fingerprint_changes_with_version_and_length_and_not_with_the_engine(tmp_path):
    def fingerprint(text: str) -> str:
        return read_model_folder(folder(tmp_path, text)).fingerprint

    first = fingerprint("")
    assert fingerprint("version = 2\n") != first
    assert fingerprint("search_engine = annoy\n[annoy]\ntrees = 3\n") == first
    assert len(first) == 32


def test_a_model_without_an_engine_of_its_own_has_the_servers(tmp_path):
    engines = Engines("annoy", {"annoy": {"metric": "l2"}}, tmp_path / "server.conf")
    assert read_model_folder(folder(tmp_path, ""), engines).engine is engines.default


def test_options_in_model_conf_go_before_those_of_the_server(tmp_path):
    engines = Engines("annoy", {"annoy": {"metric": "l2", "trees": "7"}}, tmp_path / "server.conf")
    own = read_model_folder(folder(tmp_path, "[annoy]\ntrees = 3\n"), engines).engine
    assert (own.name, own.metric, own.build_options["trees"]) == ("annoy", L2, 3)
    assert engines.default.build_options["trees"] == 7


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
        ("search_engine = milvus\n", "search_engine = 'milvus' is none of annoy, exact"),
        (
            "[milvus]\nx = 1\n",
            r"unknown section \[milvus\]; besides \[model\] there may be \[annoy",
        ),
        ("[annoy]\ntree = 1\n", r"\[annoy\] has no key 'tree'"),
        ("[faiss]\nmetric = hamming\n", r"\[faiss\] metric = 'hamming'"),
    ],
)
def test_a_folder_whose_engine_cannot_be_is_not_served_and_says_why(tmp_path, text, says):
    folder(tmp_path, "", "good")
    bad = folder(tmp_path, text, "bad")
    with pytest.raises(ModelLoadError, match=says) as caught:
        read_model_folder(bad)
    assert str(bad / "model.conf") in str(caught.value)
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    assert [*registry.served] == ["good"]
    assert [*registry.broken] == ["bad"]
    registry.close()
