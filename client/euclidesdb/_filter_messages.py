"""The messages that filters consist of: what a dict and a text expression have in common.

Their errors name the value, and whoever reads the filter adds where it is.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb import _checks as checks
from euclidesdb_protos.v1 import database_pb2 as pb

MAX_DEPTH: Final = 32
"""Filters within filters; the server's limit."""
ID_NAME: Final = "$id"

EQUAL: Final = pb.Comparison.OPERATOR_EQUAL
LESS: Final = pb.Comparison.OPERATOR_LESS
LESS_OR_EQUAL: Final = pb.Comparison.OPERATOR_LESS_OR_EQUAL
GREATER: Final = pb.Comparison.OPERATOR_GREATER
GREATER_OR_EQUAL: Final = pb.Comparison.OPERATOR_GREATER_OR_EQUAL

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT64: Final = range(-(2**63), 2**63)


def field(name: str) -> pb.Field:
    """A field by the name that people write: "price", "size.width", "digits.label", "$id"."""
    if not name:
        raise ValueError("a field must have a name, not ''")
    return pb.Field(name=checks.text("a field", name))


def comparison(name: str, operator: pb.Comparison.Operator, value: Any) -> pb.Filter:
    """A field compared with a value. None is equal to what is missing, and has no order."""
    if value is None:
        if operator != EQUAL:
            raise TypeError("None has no order")
        return negated(exists(name))
    compared = pb.Comparison(field=field(name), operator=operator, value=scalar(value))
    return pb.Filter(comparison=compared)


def one_of(name: str, values: Iterable[Any]) -> pb.Filter:
    """A field that is equal to one of some values; None among them: or is missing."""
    given = [*values]
    known = [scalar(value) for value in given if value is not None]
    listed = pb.Filter(one_of=pb.OneOf(field=field(name), values=known))
    if len(known) == len(given):
        return listed
    return any_of([listed, negated(exists(name))])


def exists(name: str) -> pb.Filter:
    """The item has the field."""
    return pb.Filter(exists=field(name))


def prefix(name: str, text: Any) -> pb.Filter:
    """A field that is a string and begins so."""
    return pb.Filter(prefix=pb.Prefix(field=field(name), prefix=checks.text("a prefix", text)))


def contains(name: str, value: Any) -> pb.Filter:
    """A field that is a list with an element that is equal to the value."""
    return pb.Filter(contains=pb.Contains(field=field(name), value=scalar(value)))


def all_of(filters: Sequence[pb.Filter]) -> pb.Filter:
    """All are met. As for the two below, ValueError is raised for filters nested too deeply."""
    if len(filters) == 1:
        return filters[0]
    _check_depth(filters)
    return pb.Filter(all=pb.Filters(filters=filters))


def any_of(filters: Sequence[pb.Filter]) -> pb.Filter:
    """At least one is met."""
    if len(filters) == 1:
        return filters[0]
    _check_depth(filters)
    return pb.Filter(any=pb.Filters(filters=filters))


def negated(filter: pb.Filter) -> pb.Filter:  # noqa: A002  its name
    """It is not met."""
    _check_depth([filter])
    message = pb.Filter()
    getattr(message, "not").CopyFrom(filter)
    return message


def scalar(value: Any) -> pb.Value:
    """A value that a field is compared with."""
    match value:
        case bool() | np.bool_():
            return pb.Value(bool_value=bool(value))
        case int() | np.integer() if not isinstance(value, np.timedelta64):
            return _integer(int(value))
        case float() | np.floating():
            if math.isnan(value):
                raise ValueError("nan is equal to nothing, and has no order")
            return pb.Value(float_value=float(value))
        case str():
            return pb.Value(string_value=checks.text("a value", value))
        case datetime():
            return pb.Value(timestamp_value=_timestamp(value))
        case date():
            return pb.Value(timestamp_value=_timestamp(datetime.combine(value, time(), UTC)))
        case _:
            raise TypeError(
                "a field is compared with a str, a number, a bool, a date or a datetime, not with "
                f"{checks.shown(value)}"
            )


def too_deep() -> ValueError:
    """The error for filters within too many others."""
    return ValueError(f"filters are nested more than {MAX_DEPTH} deep")


def _check_depth(filters: Sequence[pb.Filter]) -> None:
    """Raise ValueError if a filter that holds these would be nested too deeply for the server.

    protobuf cannot even copy one that is nested three times as deeply.
    """
    inner = [*filters]
    for _ in range(MAX_DEPTH - 1):
        if not inner:
            return
        inner = [each for one in inner for each in _within(one)]
    if inner:
        raise too_deep()


def _within(one: pb.Filter) -> Iterable[pb.Filter]:
    if one.HasField("not"):
        return (getattr(one, "not"),)
    return (*one.all.filters, *one.any.filters)


def _integer(value: int) -> pb.Value:
    """An int; one that needs more than 64 bits as a float, if there is one that is equal to it."""
    if value in _INT64:
        return pb.Value(int_value=value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if number != value:
        raise ValueError(f"{reprlib.repr(value)} does not fit into 64 bits")
    return pb.Value(float_value=number)


def _timestamp(value: datetime) -> Timestamp:
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(
            f"{value!r} has no time zone, so it may be local time or UTC: pass tzinfo, such as "
            "datetime.timezone.utc, or value.astimezone() for local time"
        )
    since = value - _EPOCH
    seconds = since // timedelta(seconds=1)
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)
