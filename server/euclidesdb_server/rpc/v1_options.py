"""SearchOptions from the messages of the v1 API."""

from __future__ import annotations

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.search_options import (
    DEFAULT_OPTIONS,
    Diversity,
    GroupBy,
    SearchOptions,
)
from euclidesdb_server.rpc.v1_fields import FieldResolver, field_of


def search_options(
    request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest, fields: FieldResolver
) -> SearchOptions:
    """The options of a search. Raises InvalidRequest, and UnknownModel as `field_of`."""
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
        group_by=_group_by(message.group_by, fields) if message.HasField("group_by") else None,
        fuse=message.fuse,
    )


def _diversity(message: pb.Diversity) -> Diversity:
    return Diversity(message.weight, message.candidates)


def _group_by(message: pb.GroupBy, fields: FieldResolver) -> GroupBy:
    return GroupBy(field_of(message.field, fields), message.max_per_group or 1)
