"""The field by which results are grouped, from its name in a request."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.search_options import FieldName, NamedPrediction
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.values.filters import Attribute, Field, ItemId, Prediction, PredictionValue

ITEM_ID: Final = "$id"
_VALUES: Final = {value.value: value for value in PredictionValue}


def group_field(name: FieldName, models: ModelTable) -> Field:
    """What a field's name refers to now. Raises InvalidRequest, UnknownModel, ModelUnavailable."""
    field = _by_name(name, models) if isinstance(name, str) else name
    if isinstance(field, ItemId | Attribute):
        return field
    return _prediction(field, models)


def _by_name(name: str, models: ModelTable) -> ItemId | Attribute | NamedPrediction:
    if name == ITEM_ID:
        return ItemId()
    model, _, value = name.rpartition(".")
    if value in _VALUES:
        with suppress(DatabaseError):  # then it is the name of an attribute
            models.resolve(model)
            return NamedPrediction(model, _VALUES[value])
    return Attribute(name)


def _prediction(name: NamedPrediction, models: ModelTable) -> Prediction:
    if name.value is not PredictionValue.LABEL:
        raise InvalidRequest(
            f"group_by: results are grouped by the label that a model predicts, not by "
            f"{name.model}.{name.value.value}"
        )
    serving = models.resolve(name.model)
    record = serving.record
    if record is None:
        raise InvalidRequest(f"group_by: model {name.model!r} has no predictions yet")
    return Prediction(record.number, name.value, serving.labels)
