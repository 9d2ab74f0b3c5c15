"""The options of searches, between Python values and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb import _payloads as payloads
from euclidesdb._filters import filter_message
from euclidesdb._neighbors import FieldValue, LabelProbability
from euclidesdb._query_types import Diversity, Filter, GroupBy
from euclidesdb_protos.v1 import database_pb2 as pb


def write_options(
    request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest,
    *,
    filter: Filter | None,  # noqa: A002  the API's name for it
    offset: int,
    exact: bool,
    include_payload: bool,
    include_vectors: bool,
    include_predictions: bool,
    top_labels: int,
    attribute_names: Iterable[str] | None,
    diversity: float | Diversity | None,
    group_by: str | GroupBy | None,
    fuse: bool = False,
) -> None:
    """Put the options into a request; if all have their defaults, it has none."""
    options = pb.SearchOptions(
        filter=None if filter is None else filter_message(filter),
        offset=checks.int32("offset", offset),
        exact=checks.flag("exact", exact),
        include_payload=checks.flag("include_payload", include_payload),
        include_vectors=checks.flag("include_vectors", include_vectors),
        include_predictions=checks.flag("include_predictions", include_predictions),
        top_labels=checks.int32("top_labels", top_labels),
        attribute_names=_attribute_names(attribute_names),
        diversity=_diversity(diversity),
        group_by=_group_by(group_by),
        fuse=checks.flag("fuse", fuse),
    )
    if options.ByteSize():
        request.options.CopyFrom(options)


def _attribute_names(names: Iterable[str] | None) -> list[str]:
    if names is None:
        return []
    checked = checks.names("attribute_names", names)
    if not checked:
        raise ValueError("attribute_names must not be empty; leave it out to get no attributes")
    return checked


def _diversity(value: float | Diversity | None) -> pb.Diversity | None:
    if value is None:
        return None
    given = value if isinstance(value, Diversity) else Diversity(value)
    return pb.Diversity(
        weight=checks.number("diversity", given.weight),
        candidates=checks.int32("the candidates of diversity", given.candidates),
    )


def _group_by(value: str | GroupBy | None) -> pb.GroupBy | None:
    if value is None:
        return None
    given = value if isinstance(value, GroupBy) else GroupBy(value)
    return pb.GroupBy(
        field=pb.Field(name=checks.text("group_by", given.field)),
        max_per_group=checks.int32("the max_per_group of group_by", given.max_per_group),
    )


def returns_attributes(request: pb.FindSimilarRequest | pb.FindSimilarBatchRequest) -> bool:
    """Whether all or some attributes were requested."""
    return request.include_attributes or bool(request.options.attribute_names)


def returns_details(options: pb.SearchOptions) -> bool:
    """Whether anything was requested that is in the details of neighbors."""
    return (
        options.include_payload
        or options.include_vectors
        or options.include_predictions
        or options.top_labels > 0
        or options.HasField("group_by")
    )


def detail_columns(
    details: Sequence[pb.NeighborDetails], options: pb.SearchOptions
) -> Mapping[str, Any]:
    """The details of neighbors as the columns of `Neighbors` that were requested."""
    columns: dict[str, Any] = {}
    if options.include_payload:
        columns["payloads"] = tuple(
            next(iter(payloads.read(each.payload).values()), None) for each in details
        )
    if options.include_vectors:
        columns["vectors"] = tuple(
            arrays.read_vector(each.vector) if each.HasField("vector") else None for each in details
        )
    if options.include_predictions:
        columns["predictions"] = tuple(
            arrays.read_vector(each.predictions) if each.HasField("predictions") else None
            for each in details
        )
    if options.top_labels:
        columns["labels"] = tuple(
            tuple(LabelProbability(label.label, label.probability) for label in each.labels)
            for each in details
        )
    if options.HasField("group_by"):
        columns["groups"] = tuple(
            _value(each.group) if each.HasField("group") else None for each in details
        )
    return columns


def _value(message: pb.Value) -> FieldValue | None:
    kind = message.WhichOneof("kind")
    return None if kind is None else getattr(message, kind)
