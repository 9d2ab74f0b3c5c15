"""The same bytes are not run through the same model twice."""

from __future__ import annotations

from collections import Counter

import pytest
from support.assembled import CALL, EMBEDDERS, Database, picture
from support.stores import vector

from euclidesdb_server.catalog import Catalog
from euclidesdb_server.database import FeatureDatabase
from euclidesdb_server.inference import Embedder
from euclidesdb_server.models import EmbeddingCache
from euclidesdb_server.types import AddRequest, ModelVector


class Counted:
    """A model whose calls are counted by its name."""

    def __init__(self, model, calls):
        self._model = model
        self._calls = calls

    def __getattr__(self, name):
        return getattr(self._model, name)

    def embed(self, payload):
        self._calls[self._model.folder.conf.name] += 1
        return self._model.embed(payload)


class CountedModels:
    """A registry whose models count what they are asked. calls: by model."""

    def __init__(self, registry):
        self.calls = Counter()
        self.served = {name: Counted(model, self.calls) for name, model in registry.served.items()}
        self.broken = {}

    def get(self, name):
        return self.served[name]


@pytest.fixture
def models(registry):
    return CountedModels(registry)


@pytest.fixture
def database(tmp_path, models):
    with Database(tmp_path, models, {**EMBEDDERS, "given": 2}) as made:
        yield made


def cached(database, models, most_bytes=1 << 20):
    """The database, with a cache of what models said."""
    catalog = Catalog(models, database.spaces)
    embedder = Embedder(models, catalog, EmbeddingCache(most_bytes))
    database.features = FeatureDatabase(
        database.store, catalog, embedder, database.compactor, max_top_k=1000, keep_payloads=True
    )
    return database


def label_of(database, item_id):
    return database.store.item(item_id).labels[database.spaces["color"].record.number]


def test_an_unchanged_item_is_recognised_without_inference_and_not_written_again(database, models):
    (first,) = database.add_picture("a", 1, "color")
    label = label_of(database, "a")
    (again,) = database.add_picture("a", 1, "color")
    assert again.vector.tolist() == first.vector.tolist()
    assert again.predictions.tolist() == first.predictions.tolist()
    assert models.calls == {"color": 1}
    assert label_of(database, "a") == label


def test_a_changed_picture_is_run_again(database, models):
    database.add_picture("a", 1, "color")
    (second,) = database.add_picture("a", 2, "color")
    assert models.calls == {"color": 2}
    assert database.vectors("a")["color"] == second.vector.tolist()
    assert database.ids(picture(2), "color") == ["a"]


def test_an_unchanged_item_with_new_attributes_is_written_without_inference(database, models):
    database.add_picture("a", 1, "color")
    database.add_picture("a", 1, "color", attributes_json='{"price": 3}')
    assert models.calls == {"color": 1}
    assert database.get("a").attributes_json == '{"price": 3}'
    assert database.ids(picture(1), "color") == ["a"]


def test_only_models_that_have_not_seen_the_picture_run_it(database, models):
    database.add_picture("a", 1, "color")
    written = database.add_picture("a", 1, "color", "grey")
    assert models.calls == {"color": 1, "grey": 1}
    assert {found.model for found in written} == {"color", "grey"}
    assert set(database.vectors("a")) == {"color", "grey"}


def test_a_vector_that_came_ready_made_is_not_taken_for_the_pictures(database, models):
    (embedded,) = database.add_picture("a", 1, "color")
    database.features.add(AddRequest("a", vectors={"color": ModelVector(vector(*range(12)))}), CALL)
    database.add("a", given=[1, 2])
    assert database.vectors("a")["color"] == list(range(12))
    database.add_picture("a", 1, "color")
    assert models.calls == {"color": 2}
    assert database.vectors("a")["color"] == embedded.vector.tolist()
    assert database.vectors("a")["given"] == [1, 2]


def test_vectors_from_before_the_picture_count_as_ready_made(database, models):
    database.features.add(AddRequest("a", vectors={"color": ModelVector(vector(*range(12)))}), CALL)
    database.add_picture("a", 1, "grey")
    (embedded,) = database.add_picture("a", 1, "color")
    assert models.calls == {"grey": 1, "color": 1}
    assert database.vectors("a")["color"] == embedded.vector.tolist()


def test_an_item_is_recognised_after_it_was_removed_only_by_the_cache(database, models):
    database.add_picture("a", 1, "color")
    database.features.remove("a")
    database.add_picture("a", 1, "color")
    assert models.calls == {"color": 2}


def test_a_query_is_run_once(database, models):
    cached(database, models)
    database.add_picture("a", 1, "color")
    first = database.near(picture(2), "color")
    assert models.calls == {"color": 2}
    assert database.near(picture(2), "color") == first
    assert database.ids(picture(1), "color") == ["a"]
    database.add_picture("b", 2, "color")
    assert models.calls == {"color": 2}
    assert database.ids(picture(2), "color") == ["b", "a"]
