"""SearchOptions and the fields that they name, from the messages of the v1 API."""

from __future__ import annotations

from typing import Final

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.search_options import (
    DEFAULT_OPTIONS,
    Diversity,
    FieldName,
    GroupBy,
    NamedPrediction,
    SearchOptions,
)
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.filters import Attribute, PredictionValue

PREDICTION_VALUES: Final = {
    pb.PREDICTION_VALUE_LABEL: PredictionValue.LABEL,
    pb.PREDICTION_VALUE_CONFIDENCE: PredictionValue.CONFIDENCE,
    pb.PREDICTION_VALUE_MARGIN: PredictionValue.MARGIN,
    pb.PREDICTION_VALUE_ENTROPY: PredictionValue.ENTROPY,
    pb.PREDICTION_VALUE_TOP_LABELS: PredictionValue.TOP_LABELS,
    pb.PREDICTION_VALUE_VECTOR: PredictionValue.VECTOR,
}


def search_options(
    request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest,
) -> SearchOptions:
    """The options of a search. Raises InvalidRequest."""
    if not request.HasField("options"):
        return DEFAULT_OPTIONS
    message = request.options
    return SearchOptions(
        offset=message.offset,
        exact=message.exact,
        include_payload=message.include_payload,
        include_vectors=message.include_vectors,
        include_predictions=message.include_predictions,
        top_labels=message.top_labels,
        attribute_names=tuple(dict.fromkeys(message.attribute_names)),
        diversity=_diversity(message.diversity) if message.HasField("diversity") else None,
        group_by=_group_by(message.group_by) if message.HasField("group_by") else None,
        fuse=message.fuse,
    )


def _diversity(message: pb.Diversity) -> Diversity:
    return Diversity(message.weight, message.candidates)


def _group_by(message: pb.GroupBy) -> GroupBy:
    return GroupBy(field_name(message.field, "group_by.field"), message.max_per_group or 1)


def field_name(message: pb.Field, what: str) -> FieldName:
    """The field that a message names. what: the message, for errors. Raises InvalidRequest."""
    match message.WhichOneof("kind"):
        case "name":
            name: FieldName = message.name
        case "attribute":
            name = Attribute(message.attribute)
        case "prediction":
            value = PREDICTION_VALUES.get(message.prediction.value)
            if value is None:
                raise InvalidRequest(
                    f"{what}.prediction.value = {message.prediction.value} should be 1 to "
                    f"{len(PREDICTION_VALUES)}"
                )
            name = NamedPrediction(message.prediction.model, value)
        case _:
            raise InvalidRequest(f"{what} is not set; set its name, attribute or prediction")
    return name
