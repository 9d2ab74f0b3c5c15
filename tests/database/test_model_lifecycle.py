"""A model is replaced by another version in the middle of a call, which is served all the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from euclidesdb_server.database.serving import Serving
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.index import ModelSpace
from tests.support.assembled import EMBEDDERS, Database, sample_image
from tests.support.builders import InProcessBuilder

COLOR = [*range(12)]


class Version:
    """A model under another fingerprint. before: called before each item that it is given."""

    def __init__(self, model, fingerprint, before):
        self._model = model
        self._before = before
        self.folder = dataclasses.replace(model.folder, fingerprint=fingerprint)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed(self, payload, **options):
        self._before()
        return self._model.embed(payload, **options)


@pytest.fixture
def database(tmp_path, registry):
    """With the item `old` in the first version's space, and `new` in the second's.

    The first version is replaced by the second when it is given its first item.
    """
    with Database(tmp_path, registry, EMBEDDERS) as made:
        real, first = registry.models["color"], made.spaces["color"]
        record = made.store.open_space("color", "version 2", 12)
        second = ModelSpace(
            record, ExactEngine(), made.store, tmp_path / "segments", builder=InProcessBuilder()
        )
        new: Any = Version(real, "version 2", lambda: None)

        def replace():
            before = made.models.serve(new, second, "color")
            if before.model is old:
                # the call that is being served still holds its lease
                assert not before.leases.retire(timeout=0)

        old: Any = Version(real, first.record.fingerprint, replace)
        made.models.serve(new, second, "color")
        made.add("new", color=COLOR)
        made.models.serve(old, first, "color")
        made.add("old", color=COLOR)
        yield made


def test_a_query_is_answered_by_the_version_that_it_resolved(database):
    assert database.ids(sample_image(1), "color") == ["old"]
    assert database.ids(sample_image(1), "color") == ["new"]


def test_an_added_item_is_of_the_version_that_made_its_vector(database):
    (written,) = database.add_image("a", 1, "color")
    assert written.fingerprint != "version 2"
    assert "a" in database.ids("a", f"color@{written.fingerprint}", include_self=True)
    (written,) = database.add_image("b", 2, "color")
    assert written.fingerprint == "version 2"
    assert "b" in database.ids("b", "color", include_self=True)


def test_a_model_that_is_served_no_longer_embeds_nothing(database):
    serving = database.models.withdraw("color")
    assert isinstance(serving, Serving)
    assert database.ids("old", "color", include_self=True) == ["old"]
    with pytest.raises(
        Exception, match=r"no model 'color' is served, but .*; the models served are: 'gray'"
    ):
        database.ids(sample_image(1), "color")
