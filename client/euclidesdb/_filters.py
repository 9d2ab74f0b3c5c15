"""Filters as dicts, in the style of MongoDB and Chroma, and as text (`_filter_text.py`).

    {"price": {"$lt": 10}, "color": "red"}             both
    {"$or": [{"color": "red"}, {"color": "blue"}]}     also $and, and $not with one filter
    {"brand": {"$in": ["a", "b"]}}                     also $nin
    {"tags": {"$contains": "new"}}                     a list with such an element
    {"name": {"$prefix": "sh"}, "$id": {"$prefix": "shoes/"}}
    {"size.width": {"$gte": 3, "$lt": 5}}              in a nested object
    {"digits.label": "7"}                              what the model digits predicts
    {"sold": None, "rating": {"$exists": True}}        without the one, with the other

Only what protobuf could not send is refused here; the server knows the other limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from euclidesdb import _checks as checks
from euclidesdb import _filter_messages as messages
from euclidesdb._filter_text import parsed
from euclidesdb_protos.v1 import database_pb2 as pb

SHOWN: Final = 64
"""Characters; a longer key is abbreviated in messages."""


def filter_message(value: Mapping[str, Any] | str) -> pb.Filter:
    """A filter as a message, from a dict or from text.

    Raises TypeError and ValueError that name the key, or the column of the text.
    """
    if isinstance(value, str):
        return parsed(value)
    return _all("filter", value, 1)


def _all(where: str, conditions: Any, depth: int) -> pb.Filter:
    """All conditions of a dict. where: it is, for messages."""
    if not isinstance(conditions, Mapping):
        raise TypeError(
            f"{where} must be a dict of conditions, such as {{'price': {{'$lt': 10}}}}, not "
            f"{checks.shown(conditions)}"
        )
    if depth > messages.MAX_DEPTH:
        raise messages.too_deep()
    found = []
    for key, value in conditions.items():
        if not isinstance(key, str):
            raise TypeError(f"{where} must have keys of type str, not {checks.shown(key)}")
        there = _inside(where, key)
        if key == "$not":
            found.append(messages.negated(_all(there, value, depth + 1)))
        elif key == "$and":
            found.append(messages.all_of(_each(there, value, depth)))
        elif key == "$or":
            found.append(messages.any_of(_each(there, value, depth)))
        elif key.startswith("$") and key != messages.ID_NAME:
            known = key in _OPERATORS
            hint = f"; write it inside a field: {{'price': {{{key!r}: ...}}}}" if known else ""
            raise ValueError(f"{there} is neither a field nor one of $and, $or and $not{hint}")
        else:
            found.append(_field(there, key, value, depth))
    return messages.all_of(found)


def _each(where: str, filters: Any, depth: int) -> list[pb.Filter]:
    if isinstance(filters, str | Mapping):
        raise TypeError(f"{where} must be a list of dicts, not {checks.shown(filters)}")
    each = checks.items(where, filters, "dicts")
    return [_all(f"{where}[{row}]", value, depth + 1) for row, value in enumerate(each)]


def _field(where: str, name: str, condition: Any, depth: int) -> pb.Filter:
    """The condition of a field: a value to be equal to, or operators, all of which hold."""
    if not isinstance(condition, Mapping):
        return _applied(where, name, "$eq", condition)
    if not condition:
        raise ValueError(f"{where} must have an operator, such as {{'$lt': 10}}, not {{}}")
    if depth > messages.MAX_DEPTH:
        raise messages.too_deep()
    found = []
    for key, value in condition.items():
        there = _inside(where, str(key))
        if key == "$not":
            if not isinstance(value, Mapping):
                raise TypeError(f"{there} must be a dict of operators, not {checks.shown(value)}")
            found.append(messages.negated(_field(there, name, value, depth + 1)))
        elif key in _OPERATORS:
            found.append(_applied(there, name, key, value))
        else:
            operators = ", ".join(_OPERATORS)
            hint = "" if str(key).startswith("$") else "; join the names of nested fields by dots"
            raise ValueError(f"{there} is not one of the operators {operators} and $not{hint}")
    return messages.all_of(found)


def _applied(where: str, name: str, operator: str, value: Any) -> pb.Filter:
    try:
        return _OPERATORS[operator](name, value)
    except (TypeError, ValueError) as error:
        hint = ""
        if operator == "$eq" and isinstance(value, list | tuple | set | frozenset):
            hint = "; use $in for one of several values, $contains for an element of a list"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}{hint}") from error


def _compared(operator: pb.Comparison.Operator) -> Callable[[str, Any], pb.Filter]:
    return lambda name, value: messages.comparison(name, operator, value)


def _not_equal(name: str, value: Any) -> pb.Filter:
    if value is None:
        return messages.exists(name)
    return messages.negated(messages.comparison(name, messages.EQUAL, value))


def _in(name: str, values: Any) -> pb.Filter:
    if isinstance(values, str | bytes | Mapping):
        raise TypeError(f"a list of values is needed, not {checks.shown(values)}")
    return messages.one_of(name, checks.items("it", values, "values"))


def _exists(name: str, value: Any) -> pb.Filter:
    found = messages.exists(name)
    return found if checks.flag("it", value) else messages.negated(found)


_OPERATORS: Final[dict[str, Callable[[str, Any], pb.Filter]]] = {
    "$eq": _compared(messages.EQUAL),
    "$ne": _not_equal,
    "$lt": _compared(messages.LESS),
    "$lte": _compared(messages.LESS_OR_EQUAL),
    "$gt": _compared(messages.GREATER),
    "$gte": _compared(messages.GREATER_OR_EQUAL),
    "$in": _in,
    "$nin": lambda name, values: messages.negated(_in(name, values)),
    "$exists": _exists,
    "$prefix": messages.prefix,
    "$contains": messages.contains,
}


def _inside(where: str, key: str) -> str:
    return f"{where}[{key if len(key) <= SHOWN else key[:SHOWN] + '...'!r}]"
