"""Filters as messages: the reverse of what the server reads, for tests of any filter over the wire.

`euclidesdb` writes no attribute and no prediction but by name, so this is not its code.
"""

from __future__ import annotations

from collections.abc import Mapping

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.rpc.v1_fields import PREDICTION_VALUES, value_message
from euclidesdb_server.rpc.v1_filters import OPERATORS
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Contains,
    Exists,
    Field,
    Filter,
    ItemId,
    Not,
    OneOf,
    Prediction,
    Prefix,
)


def field_message(field: Field, models: Mapping[int, str]) -> pb.Field:
    """A field. models: the names of models by the number of their space."""
    match field:
        case ItemId():
            return pb.Field(name="$id")
        case Attribute(path):
            return pb.Field(attribute=path)
        case Prediction(space, value, _):
            (number,) = (number for number, each in PREDICTION_VALUES.items() if each is value)
            predicted = pb.PredictionField(model=models[space], value=number)
            return pb.Field(prediction=predicted)


def filter_message(condition: Filter, models: Mapping[int, str]) -> pb.Filter:
    """A filter. models: as in `field_message`."""
    message = pb.Filter()
    match condition:
        case All(filters):
            message.all.SetInParent()
            message.all.filters.extend(filter_message(each, models) for each in filters)
        case AnyOf(filters):
            message.any.SetInParent()
            message.any.filters.extend(filter_message(each, models) for each in filters)
        case Not(negated):
            getattr(message, "not").CopyFrom(filter_message(negated, models))
        case Comparison(field, operator, value):
            (number,) = (number for number, each in OPERATORS.items() if each is operator)
            message.comparison.operator = number
            message.comparison.field.CopyFrom(field_message(field, models))
            message.comparison.value.CopyFrom(value_message(value))
        case OneOf(field, values):
            message.one_of.field.CopyFrom(field_message(field, models))
            message.one_of.values.extend(map(value_message, values))
        case Exists(field):
            message.exists.CopyFrom(field_message(field, models))
        case Prefix(field, text):
            message.prefix.field.CopyFrom(field_message(field, models))
            message.prefix.prefix = text
        case Contains(field, value):
            message.contains.field.CopyFrom(field_message(field, models))
            message.contains.value.CopyFrom(value_message(value))
    return message
