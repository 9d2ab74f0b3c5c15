"""The fields and the values that fields are compared with, in the messages of the v1 API.

A field that has been read refers to the id, an attribute, or the predictions of a model version.
Everything here raises InvalidRequest for a message that cannot be read, and UnknownModel or
ModelUnavailable for a model whose predictions cannot be named.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.values.filters import (
    Attribute,
    Field,
    ItemId,
    Prediction,
    PredictionValue,
    Scalar,
)

MAX_NAME_CHARACTERS: Final = 1024
SHOWN: Final = 64
"""Characters; a longer name is abbreviated in messages."""

ID_NAME: Final = "$id"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MIN_SECONDS: Final = -62_135_596_800
"""The year 1 begins; also in protobuf's definition of a timestamp."""
MAX_SECONDS: Final = 253_402_300_799
"""The year 9999 ends."""

PREDICTION_VALUES: Final = {
    pb.PREDICTION_VALUE_LABEL: PredictionValue.LABEL,
    pb.PREDICTION_VALUE_CONFIDENCE: PredictionValue.CONFIDENCE,
    pb.PREDICTION_VALUE_MARGIN: PredictionValue.MARGIN,
    pb.PREDICTION_VALUE_ENTROPY: PredictionValue.ENTROPY,
    pb.PREDICTION_VALUE_TOP_LABELS: PredictionValue.TOP_LABELS,
    pb.PREDICTION_VALUE_VECTOR: PredictionValue.VECTOR,
    pb.PREDICTION_VALUE_STATE: PredictionValue.STATE,
}
_VALUES_BY_NAME: Final = {value.value: value for value in PredictionValue}


class FieldResolver(Protocol):
    """What the names of models in fields refer to now."""

    def prediction(self, model: str, value: PredictionValue) -> Prediction | None:
        """What a model predicts; None if there is no such model.

        model: a name, or `model@fingerprint`. Raises ModelUnavailable if there is, and it has no
        space yet.
        """

    def refusal(self, model: str) -> DatabaseError:
        """The error for a model that does not exist."""


def field_of(message: pb.Field, resolver: FieldResolver) -> Field:
    """A field whose values are wanted: to order items by it, to count or to summarize them."""
    return FieldReader(resolver).read_values(message)


def value_message(value: Scalar) -> pb.Value:
    """A value as a message."""
    match value:
        case bool():
            return pb.Value(bool_value=value)
        case int():
            return pb.Value(int_value=value)
        case float():
            return pb.Value(float_value=value)
        case str():
            return pb.Value(string_value=value)
        case datetime():
            since = value - EPOCH
            seconds = since // timedelta(seconds=1)
            return pb.Value(
                timestamp_value=Timestamp(seconds=seconds, nanos=since.microseconds * 1000)
            )


class FieldReader:
    """Reads the fields of one message. A name that occurs again refers to the same."""

    def __init__(self, resolver: FieldResolver) -> None:
        self._resolver = resolver
        self._named: dict[str, Field] = {}

    def read(self, message: pb.Field) -> Field:
        """A field that an item has or not."""
        match message.WhichOneof("kind"):
            case "name":
                _check_name("name", message.name)
                field = self._named.get(message.name)
                if field is None:
                    field = self._named[message.name] = self._resolved(message.name)
                return field
            case "attribute":
                _check_name("attribute", message.attribute)
                return Attribute(message.attribute)
            case "prediction":
                return self._prediction(message.prediction)
            case _:
                raise InvalidRequest("field is not set; set its name, attribute or prediction")

    def read_values(self, message: pb.Field) -> Field:
        """A field with values."""
        field = self.read(message)
        if _predicts(field, PredictionValue.VECTOR):
            raise InvalidRequest(
                f"{name_of(message)} exists or does not; it has no values to compare"
            )
        return field

    def read_scalar(self, message: pb.Field) -> Field:
        """A field with one value."""
        field = self.read_values(message)
        if _predicts(field, PredictionValue.TOP_LABELS):
            raise InvalidRequest(
                f"{name_of(message)} is a list: it contains a value or does not, and cannot be "
                "compared with one"
            )
        return field

    def _resolved(self, name: str) -> Field:
        if name == ID_NAME:
            return ItemId()
        # the name of a model may contain dots, too
        model, _, last = name.rpartition(".")
        value = _VALUES_BY_NAME.get(last)
        prediction = None
        if model and value is not None:
            prediction = self._resolver.prediction(model, value)
            base, at, _ = model.rpartition("@")
            if prediction is None and at and self._resolver.prediction(base, value) is not None:
                raise self._resolver.refusal(model)  # a version that was dropped, or never was
        return Attribute(name) if prediction is None else prediction

    def _prediction(self, message: pb.PredictionField) -> Prediction:
        _check_name("prediction.model", message.model)
        value = PREDICTION_VALUES.get(message.value)
        if value is None:
            raise InvalidRequest(
                f"prediction.value = {message.value} of model {_shown(message.model)} should be "
                "1 (label) to 6 (vector), or 40 (state)"
            )
        prediction = self._resolver.prediction(message.model, value)
        if prediction is None:
            raise self._resolver.refusal(message.model)
        return prediction


def value_of(message: pb.Value, field: pb.Field) -> Scalar:
    """The value that a field is compared with."""
    match message.WhichOneof("kind"):
        case "bool_value":
            return message.bool_value
        case "int_value":
            return message.int_value
        case "float_value":
            if math.isnan(message.float_value):
                raise InvalidRequest(
                    f"{name_of(field)} is compared with NaN, to which nothing is equal"
                )
            return message.float_value
        case "string_value":
            return message.string_value
        case "timestamp_value":
            return _time(message.timestamp_value, field)
        case _:
            raise InvalidRequest(f"the value that {name_of(field)} is compared with is not set")


def name_of(message: pb.Field) -> str:
    """The name of a field that has been read."""
    if message.WhichOneof("kind") == "prediction":
        value = PREDICTION_VALUES[message.prediction.value]
        return _shown(f"{message.prediction.model}.{value.value}")
    return _shown(message.name or message.attribute)


def _time(message: Timestamp, field: pb.Field) -> datetime:
    """A time in UTC; what is less than a microsecond is ignored, as in the items' times."""
    seconds, nanos = message.seconds, message.nanos
    if not (MIN_SECONDS <= seconds <= MAX_SECONDS and 0 <= nanos < 1_000_000_000):
        raise InvalidRequest(
            f"{name_of(field)} is compared with the timestamp of {seconds} seconds and {nanos} "
            "nanoseconds; one in the years 1 to 9999 is needed"
        )
    return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _check_name(what: str, name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidRequest(
            f"field.{what} = {_shown(name)} has {len(name)} characters; 1 to "
            f"{MAX_NAME_CHARACTERS:,} are permitted"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= SHOWN else name[:48] + "...")


def _predicts(field: Field, value: PredictionValue) -> bool:
    return isinstance(field, Prediction) and field.value is value
