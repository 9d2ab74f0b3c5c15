"""A model is replaced by another version in the middle of a call: the call is served anyway."""

from __future__ import annotations

import dataclasses

import pytest

from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.index import ModelSpace
from tests.support.assembled import EMBEDDERS, Database, sample_image

COLOR = [*range(12)]


class Version:
    """A model under another fingerprint. before: called before it is asked anything."""

    def __init__(self, model, fingerprint, before):
        self._model = model
        self._before = before
        self.folder = dataclasses.replace(model.folder, fingerprint=fingerprint)
        self.state = model.state

    def embed(self, payload):
        self._before()
        return self._model.embed(payload)


class Versions:
    """A registry of one model, `color`, and the catalog with the spaces of its two versions.

    Whoever asks the first version for the first time meets the moment of its replacement.
    """

    def __init__(self, database, registry, moment):
        self._moment = moment
        self._real = registry.get("color")
        self._first = database.spaces["color"]
        record = database.store.open_space("color", "version 2", 12)
        self._second = ModelSpace(
            record, ExactEngine(), database.store, database.folder / "segments"
        )
        self.served = {"color": Version(self._real, self._first.record.fingerprint, self.replace)}
        self.broken = {}
        self.catalog = Catalog(self, {"color": self._first}, [self._second])

    def get(self, name):
        return self.served[name]

    def replace(self):
        self.catalog.make_current("color", self._second)
        if self._moment == "not yet served":
            return
        self.served = {"color": Version(self._real, "version 2", lambda: None)}
        if self._moment == "refuses":
            raise ModelUnavailable("model 'color' is no longer served")


@pytest.fixture(params=["answers", "refuses", "not yet served"])
def moment(request):
    """The first version meets its replacement, and still answers, or refuses; or the space of the
    second is current already, and the first still serves.
    """
    return request.param


@pytest.fixture
def database(tmp_path, registry, moment):
    """With the item `old` in the first version's space, and `new` in the second's."""
    with Database(tmp_path, registry, EMBEDDERS) as made:
        made.folder = tmp_path
        versions = Versions(made, registry, moment)
        embedder = Embedder(versions, versions.catalog)
        made.features = FeatureDatabase(
            made.store,
            versions.catalog,
            embedder,
            made.compactor,
            max_top_k=1000,
            keep_payloads=True,
        )
        first = versions.catalog.space("color")
        made.add("old", color=COLOR)
        versions.catalog.make_current("color", versions.catalog.version("color", "version 2"))
        made.add("new", color=COLOR)
        if moment != "not yet served":
            versions.catalog.make_current("color", first)
        yield made


def test_a_query_is_answered_by_the_version_that_embedded_it(database, moment):
    assert database.ids(sample_image(1), "color") == ["new" if moment == "refuses" else "old"]


def test_an_item_that_is_being_added_is_of_the_version_that_made_its_vector(database, moment):
    (written,) = database.add_image("a", 1, "color")
    assert (written.fingerprint == "version 2") is (moment == "refuses")
    space = "color" if moment == "refuses" else f"color@{written.fingerprint}"
    assert "a" in database.ids("a", space, include_self=True)
