"""The filters of the v1 API as typed trees of bounded size and depth (`values/filters.py`)."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.v1_fields import (
    FieldReader,
    FieldResolver,
    name_of,
    value_of,
)
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Comparison,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    Operator,
    Prefix,
)

MAX_DEPTH: Final = 32
"""Filters within filters. protobuf permits 100 messages within messages, and each level of a filter
is up to two."""
MAX_CONDITIONS: Final = 1000
"""Conditions in one filter, those that combine others included."""
MAX_VALUES: Final = 100_000
"""Values in all the lists of one filter."""

OPERATORS: Final = {
    pb.Comparison.OPERATOR_EQUAL: Operator.EQUAL,
    pb.Comparison.OPERATOR_LESS: Operator.LESS,
    pb.Comparison.OPERATOR_LESS_OR_EQUAL: Operator.LESS_OR_EQUAL,
    pb.Comparison.OPERATOR_GREATER: Operator.GREATER,
    pb.Comparison.OPERATOR_GREATER_OR_EQUAL: Operator.GREATER_OR_EQUAL,
}


def filter_tree(message: pb.Filter, resolver: FieldResolver) -> Filter:
    """A filter with every name resolved.

    Raises InvalidRequest for one that cannot be read, or exceeds a limit; UnknownModel and
    ModelUnavailable as `FieldReader.read`.
    """
    return _FilterReader(resolver).read(message, 1)


def stored_filter(data: bytes, resolver: FieldResolver) -> Filter:
    """A filter that was stored as a message. Raises as `filter_tree`."""
    try:
        message = pb.Filter.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"the stored filter cannot be parsed: {error}") from error
    return filter_tree(message, resolver)


class _FilterReader:
    """Reads one filter, and counts what it has."""

    def __init__(self, resolver: FieldResolver) -> None:
        self._fields = FieldReader(resolver)
        self._conditions = 0
        self._values = 0

    def read(self, message: pb.Filter, depth: int) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidRequest(f"the filter has more than {MAX_CONDITIONS:,} conditions")
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"the filter is nested more than {MAX_DEPTH} deep")
        match message.WhichOneof("kind"):
            case "all":
                return All(tuple(self.read(each, depth + 1) for each in message.all.filters))
            case "any":
                return AnyOf(tuple(self.read(each, depth + 1) for each in message.any.filters))
            case "not":
                return Not(self.read(getattr(message, "not"), depth + 1))
            case kind:
                return self._condition(message, kind)

    def _condition(self, message: pb.Filter, kind: str | None) -> Filter:
        match kind:
            case "comparison":
                return self._comparison(message.comparison)
            case "one_of":
                return self._one_of(message.one_of)
            case "exists":
                return Exists(self._fields.read(message.exists))
            case "prefix":
                field = self._fields.read_scalar(message.prefix.field)
                return Prefix(field, message.prefix.prefix)
            case "contains":
                contains = message.contains
                field = self._fields.read_values(contains.field)
                return Contains(field, value_of(contains.value, contains.field))
            case _:
                raise InvalidRequest("a filter is not set; set its comparison, all, any, ...")

    def _comparison(self, message: pb.Comparison) -> Comparison:
        field = self._fields.read_scalar(message.field)
        operator = OPERATORS.get(message.operator)
        if operator is None:
            raise InvalidRequest(
                f"operator = {message.operator} of the comparison of {name_of(message.field)} "
                "should be 1 (equal) to 5 (greater or equal)"
            )
        value = value_of(message.value, message.field)
        if isinstance(value, bool) and operator is not Operator.EQUAL:
            raise InvalidRequest(
                f"{name_of(message.field)} {operator.value} {str(value).lower()}: booleans have "
                "no order; compare them with = (equal)"
            )
        return Comparison(field, operator, value)

    def _one_of(self, message: pb.OneOf) -> OneOf:
        self._values += len(message.values)
        if self._values > MAX_VALUES:
            raise InvalidRequest(f"the lists of the filter have more than {MAX_VALUES:,} values")
        field = self._fields.read_scalar(message.field)
        return OneOf(field, tuple(value_of(each, message.field) for each in message.values))
