"""An exported model is searched by the metric that its checkpoint declares, in every engine."""

import json

import numpy as np
import pytest

from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.export.similarity import SIMILARITIES, UNIT_LENGTH
from euclidesdb_server.inference.model_folder import parse_model_folder, read_model_folder
from tests.export import checkpoints
from tests.export.exporting import answers, export
from tests.support.cases import each_as_subtest
from tests.support.late_import import LateImport
from tests.support.models import save_model

recipe = LateImport("euclidesdb_server.export.recipe")  # which imports transformers
ENGINES = ("annoy", "exact", "exact_disk", "faiss")
SECTIONS = {  # of a server that was configured for something else
    "annoy": {"metric": "l2", "tree_factor": "10"},
    "exact": {"metric": "inner_product"},
    "exact_disk": {"pnorm": "3"},
    "faiss": {"metric": "l2"},
}
DISTANCES = {
    "cosine": lambda rows, query: 1 - rows @ query / np.linalg.norm(rows, axis=1),
    "dot": lambda rows, query: -rows @ query,
    "euclidean": lambda rows, query: np.linalg.norm(rows - query, axis=1),
    "manhattan": lambda rows, query: np.abs(rows - query).sum(axis=1),
}
TEXTS = [" ".join(["a", "b c", "cat 1"][: n % 3 + 1] * (n // 3 + 1)) for n in range(12)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """As many are published: no Normalize, and no metric, which then is cosine."""
    folder = tmp_path_factory.mktemp("texts") / "checkpoint"
    checkpoints.bert(folder)
    checkpoints.sentence_files(
        folder, kinds=("Transformer", "Pooling"), pooling={"pooling_mode_mean_tokens": True}
    )
    return folder


def top(engine, rows, query, k=5):
    if engine.metric.normalizes:  # as a space does, for every engine
        rows, query = (
            each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (rows, query)
        )
    _, numbers = engine.build(rows).search(query[None], k, None)
    return numbers[0].tolist()


def test_a_checkpoint_meant_for_cosine_is_searched_by_cosine(checkpoint, tmp_path, capsys):
    assert export(checkpoint, tmp_path / "exported") == 0
    assert "its vectors are compared by cosine, as the checkpoint does" in capsys.readouterr().out
    _, features = answers(tmp_path / "exported", [text.encode() for text in TEXTS])
    features = np.ascontiguousarray(features * np.linspace(1, 3, 12, dtype=np.float32)[:, None])
    expected = np.argsort(DISTANCES["cosine"](features, features[0]), kind="stable")[:5]
    nearest_by_l2 = np.argsort(DISTANCES["euclidean"](features, features[0]), kind="stable")[:5]
    assert expected.tolist() != nearest_by_l2.tolist(), "the metric matters"
    for name in ENGINES:
        folder = read_model_folder(tmp_path / "exported", Engines(name, SECTIONS))
        assert top(folder.engine, features, features[0]) == expected.tolist(), name


@each_as_subtest(("name", "engine"), [(name, engine) for name in DISTANCES for engine in ENGINES])
def test_each_metric_ranks_as_it_is_defined_whatever_engine_the_server_has(
    tmp_path_factory, name, engine
):
    similarity = SIMILARITIES[name]
    folder = save_model(tmp_path_factory.mktemp("model"))
    with (folder / "model.conf").open("a") as file:
        if similarity.search_engine:
            file.write(f"search_engine = {similarity.search_engine}\n")
        for section, keys in similarity.sections.items():
            file.write(f"[{section}]\n" + "".join(f"{key} = {keys[key]}\n" for key in keys))
    rows = np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)
    rows *= np.linspace(0.5, 3, 60, dtype=np.float32)[:, None]
    model = parse_model_folder(folder, Engines(engine, SECTIONS))
    expected = np.argsort(DISTANCES[name](rows, rows[7]), kind="stable")[:5]
    assert top(model.engine, rows, rows[7]) == expected.tolist()


@each_as_subtest(
    ("declared", "kinds", "expected"),
    [
        (None, ("Transformer", "Pooling"), SIMILARITIES["cosine"]),
        ("cosine", ("Transformer", "Pooling"), SIMILARITIES["cosine"]),
        ("dot", ("Transformer", "Pooling"), SIMILARITIES["dot"]),
        (None, ("Transformer", "Pooling", "Normalize"), UNIT_LENGTH),
        ("dot", ("Transformer", "Pooling", "Normalize"), UNIT_LENGTH),
        ("manhattan", ("Transformer", "Pooling", "Normalize"), SIMILARITIES["manhattan"]),
    ],
)
def test_the_metric_is_that_of_the_checkpoint(tmp_path_factory, declared, kinds, expected):
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoints.sentence_files(folder, kinds=kinds, pooling={"pooling_mode_mean_tokens": True})
    settings = {"similarity_fn_name": declared}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert recipe.read_recipe(str(folder), None).similarity == expected


def test_a_checkpoint_that_declares_no_metric_leaves_it_to_the_server(tmp_path, capsys):
    checkpoints.vit(tmp_path / "checkpoint")
    assert export(tmp_path / "checkpoint", tmp_path / "exported") == 0
    assert "the checkpoint declares no metric" in capsys.readouterr().out
    assert "[exact]" not in (tmp_path / "exported" / "model.conf").read_text()
