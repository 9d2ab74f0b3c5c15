"""The same bytes are not run through the same model twice."""

from __future__ import annotations

from collections import Counter

import pytest

from euclidesdb_server.database.requests import AddRequest, ModelVector
from euclidesdb_server.inference import EmbeddingCache
from tests.support.assembled import CALL, EMBEDDERS, Database, sample_image
from tests.support.stores import vector


class Counted:
    """A model whose calls are counted by its name."""

    def __init__(self, model, calls):
        self._model = model
        self._calls = calls

    def __getattr__(self, name):
        return getattr(self._model, name)

    def embed(self, payload, **options):
        self._calls[self._model.folder.conf.name] += 1
        return self._model.embed(payload, **options)


class CountedModels:
    """A registry whose models count what they are asked. calls: by model."""

    def __init__(self, registry):
        self.calls = Counter()
        self.models = {name: Counted(model, self.calls) for name, model in registry.models.items()}
        self.broken = {}


@pytest.fixture
def models(registry):
    return CountedModels(registry)


@pytest.fixture
def database(tmp_path, models):
    with Database(tmp_path, models, {**EMBEDDERS, "given": 2}) as made:
        yield made


def label_of(database, item_id):
    return database.store.item(item_id).labels[database.spaces["color"].record.number]


def test_an_unchanged_item_is_recognized_without_inference_and_not_written_again(database, models):
    (first,) = database.add_image("a", 1, "color")
    label = label_of(database, "a")
    (again,) = database.add_image("a", 1, "color")
    assert again.vector.tolist() == first.vector.tolist()
    assert again.predictions.tolist() == first.predictions.tolist()
    assert models.calls == {"color": 1}
    assert label_of(database, "a") == label


def test_a_changed_image_is_run_again(database, models):
    database.add_image("a", 1, "color")
    (second,) = database.add_image("a", 2, "color")
    assert models.calls == {"color": 2}
    assert database.vectors("a")["color"] == second.vector.tolist()
    assert database.ids(sample_image(2), "color") == ["a"]


def test_an_unchanged_item_with_new_attributes_is_written_without_inference(database, models):
    database.add_image("a", 1, "color")
    database.add_image("a", 1, "color", attributes_json='{"price": 3}')
    assert models.calls == {"color": 1}
    assert database.get("a").attributes_json == '{"price": 3}'
    assert database.ids(sample_image(1), "color") == ["a"]


def test_only_models_that_have_not_seen_the_image_run_it(database, models):
    database.add_image("a", 1, "color")
    written = database.add_image("a", 1, "color", "gray")
    assert models.calls == {"color": 1, "gray": 1}
    assert {found.model for found in written} == {"color", "gray"}
    assert set(database.vectors("a")) == {"color", "gray"}


def test_a_vector_that_came_ready_made_is_not_taken_for_the_images(database, models):
    (embedded,) = database.add_image("a", 1, "color")
    database.features.add(AddRequest("a", vectors={"color": ModelVector(vector(*range(12)))}), CALL)
    database.add("a", given=[1, 2])
    assert database.vectors("a")["color"] == list(range(12))
    database.add_image("a", 1, "color")
    assert models.calls == {"color": 2}
    assert database.vectors("a")["color"] == embedded.vector.tolist()
    assert database.vectors("a")["given"] == [1, 2]


def test_vectors_from_before_the_image_count_as_ready_made(database, models):
    database.features.add(AddRequest("a", vectors={"color": ModelVector(vector(*range(12)))}), CALL)
    database.add_image("a", 1, "gray")
    (embedded,) = database.add_image("a", 1, "color")
    assert models.calls == {"gray": 1, "color": 1}
    assert database.vectors("a")["color"] == embedded.vector.tolist()


def test_an_item_is_recognized_after_it_was_removed_only_by_the_cache(database, models):
    database.add_image("a", 1, "color")
    database.features.remove("a")
    database.add_image("a", 1, "color")
    assert models.calls == {"color": 2}


def test_a_query_is_run_once(tmp_path, models):
    with Database(tmp_path, models, EMBEDDERS, cache=EmbeddingCache(1 << 20)) as database:
        run_a_query_twice(database, models)


def run_a_query_twice(database, models):
    database.add_image("a", 1, "color")
    first = database.near(sample_image(2), "color")
    assert models.calls == {"color": 2}
    assert database.near(sample_image(2), "color") == first
    assert database.ids(sample_image(1), "color") == ["a"]
    database.add_image("b", 2, "color")
    assert models.calls == {"color": 2}
    assert database.ids(sample_image(2), "color") == ["b", "a"]
