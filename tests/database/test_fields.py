"""ModelFields: the predictions that a name of a model in a field refers to."""

from __future__ import annotations

import pytest

from euclidesdb_server.database.fields import ModelFields
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.values.filters import Prediction, PredictionValue
from tests.support.assembled import EMBEDDERS, Database

LABEL = PredictionValue.LABEL


@pytest.fixture
def database(tmp_path, registry):
    with Database(tmp_path, registry, EMBEDDERS) as made:
        yield made


@pytest.fixture
def table(database, registry):
    servings = [
        Serving(name, each, database.spaces[name]) for name, each in registry.models.items()
    ]
    superseded = SupersededSpace(database.store.open_space("color", "first", 12), pytest.fail)
    return ModelTable(
        [*servings, superseded_serving(superseded)], {"empty": "it has no model.conf"}
    )


def test_a_name_refers_to_the_space_of_the_version_in_service(table, database):
    number = database.spaces["color"].record.number
    expected = Prediction(number, LABEL, ("red", "green", "blue"))
    assert ModelFields(table).prediction("color", LABEL) == expected


def test_labels_are_empty_if_the_model_does_not_name_them(table, database):
    number = database.spaces["gray"].record.number
    assert ModelFields(table).prediction("gray", LABEL) == Prediction(number, LABEL, ())


def test_a_superseded_version_is_found_without_being_opened(table, database):
    number = database.store.open_space("color", "first", 12).number
    found = ModelFields(table).prediction("color@first", PredictionValue.MARGIN)
    assert found == Prediction(number, PredictionValue.MARGIN, ())


def test_a_model_that_is_served_no_longer_keeps_its_predictions(table, database):
    table.withdraw("color")
    number = database.spaces["color"].record.number
    assert ModelFields(table).prediction("color", LABEL) == Prediction(number, LABEL, ())


def test_an_unknown_model_is_no_prediction_and_the_known_ones_are_listed(table):
    fields = ModelFields(table)
    assert fields.prediction("shoes", LABEL) is None
    assert "the models served are: 'color', 'gray'" in str(fields.refusal("shoes"))


def test_a_model_that_cannot_be_served_is_unavailable_and_not_an_attribute(table):
    with pytest.raises(ModelUnavailable, match="'empty' cannot be served: it has no"):
        ModelFields(table).prediction("empty", LABEL)


def test_a_model_that_has_never_been_ready_is_unavailable(registry):
    table = ModelTable([Serving("color", registry.models["color"], None)], {})
    with pytest.raises(ModelUnavailable, match="model 'color' is loading: its space is being open"):
        ModelFields(table).prediction("color", LABEL)
