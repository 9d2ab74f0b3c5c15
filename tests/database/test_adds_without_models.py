"""An item to add that names no model: the only one that takes its kind embeds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.inference import ModelRegistry
from tests.support.assembled import CALL, Database, sample_image


def with_one_model(registry: ModelRegistry, name: str) -> Any:
    """A registry with one of its models."""
    return SimpleNamespace(models={name: registry.models[name]}, broken={})


def test_the_only_model_that_takes_it_embeds_it(tmp_path, registry):
    with Database(tmp_path, with_one_model(registry, "gray"), {"gray": 4, "given": 2}) as database:
        (embedding,) = database.add_image("a", 1)
        assert embedding.model == "gray"
        assert set(database.vectors("a")) == {"gray"}
        outcomes = database.features.add_many(
            [AddRequest("b", sample_image(2)), AddRequest("c", sample_image(3), ("gray",))], CALL
        )
        assert [[each.model for each in outcome] for outcome in outcomes] == [["gray"], ["gray"]]


def test_several_models_are_named(embedding_database):
    with pytest.raises(InvalidRequest, match="models take image: name one or more of color, gray"):
        embedding_database.add_image("a", 1)


def test_no_model_that_takes_it_is_an_error_of_its_own_item(database):
    (outcome,) = database.features.add_many([AddRequest("a", sample_image(1))], CALL)
    assert isinstance(outcome, InvalidRequest)
    assert "models is empty, and no model takes image" in str(outcome)
