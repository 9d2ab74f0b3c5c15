"""Checks of a call's arguments.

Values that protobuf itself would reject with an obscure message raise a clear ValueError or
TypeError here. Everything else is left to the server, whose messages know more.
"""

from __future__ import annotations

import json
import math
import operator
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_CONTAINERS = (dict, list, tuple)
_INT32 = range(-(2**31), 2**31)


def exactly_one(arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and value of the only argument that is not None. Raises ValueError."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        *others, last = arguments
        raise ValueError(
            f"give exactly one of {', '.join(others)} and {last}, not "
            f"{' and '.join(given) or 'none'}"
        )
    return given[0], arguments[given[0]]


def text(name: str, value: str) -> str:
    """`value`, checked to be a str that UTF-8 can encode."""
    if not isinstance(value, str):
        shown = f"{type(value).__name__}: {reprlib.repr(value)}"
        raise TypeError(f"{name} must be a str, not {shown}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        shown = ascii(value[max(0, error.start - 20) : error.end + 20])  # it may be a whole book
        raise ValueError(f"{name} must be valid Unicode, which {shown} is not") from error
    return value


def names(name: str, values: Iterable[str]) -> list[str]:
    """`values` as a list of checked strs; a single str, which iterates by letters, is refused."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of names: [{values!r}], not {values!r}")
    checked = list(values)
    try:
        "".join(checked).encode()  # a million are checked at once, in a tenth of the time
    except (TypeError, UnicodeEncodeError):
        for value in checked:
            text(f"a name in {name}", value)
        raise
    return checked


def int32(name: str, value: int) -> int:
    """`value`, checked to be an integer of 32 bits."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, not {value!r}") from error
    if number not in _INT32:
        raise ValueError(f"{name} must fit in 32 bits, which {number} does not")
    return number


def number(name: str, value: float | None) -> float | None:
    """`value`, checked to be a real number or None."""
    if value is None:
        return None
    if not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be a number that a float can hold: {error}") from error


def positive(name: str, value: int) -> int:
    """`value`, checked to be a positive number, without its fraction."""
    if not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r}")
    if not 1 <= value < math.inf:
        raise ValueError(f"{name} must be at least 1, and finite, not {value}")
    return int(value)


def opaque(name: str, value: bytes) -> bytes:
    """`value` as bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    return bytes(value)


def unmasked(name: str, value: T) -> T:
    """`value`, checked to be neither a masked array nor a sequence with one.

    As a plain array, a masked one has the numbers under its mask. One whose mask hides nothing
    passes.
    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{name} is a masked array: the mask would be lost; send value.filled(...), or only "
            "the rows without masked values"
        )
    return value


def attributes_json(name: str, attributes: Mapping[str, Any]) -> str:
    """`attributes` as a JSON object; NumPy's numbers and booleans become JSON's."""
    if not isinstance(attributes, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(attributes).__name__}")
    try:
        encoded = text(name, _JSON.encode(dict(attributes)))
    except (TypeError, ValueError):
        for key, value in attributes.items():
            try:
                text(name, _JSON.encode({key: value}))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                shown = f"{reprlib.repr(value)} under {key!r}"
                raise kind(f"{name} must hold JSON values, not {shown}: {error}") from error
        raise
    _check_keys(name, dict(attributes))
    return encoded


def _check_keys(name: str, value: Any) -> None:
    """Raise TypeError for a key that JSON would rewrite: 1 and "1" would become the same."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"{name} must have keys of type str, not {key!r}, of type {type(key).__name__}"
                )
            if isinstance(part, _CONTAINERS):
                _check_keys(name, part)
    elif isinstance(value, list | tuple):
        for part in value:
            if isinstance(part, _CONTAINERS):
                _check_keys(name, part)


def _plain_number(value: object) -> bool | int | float:
    """The JSON encoder's fallback for values that it does not know."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer) and not isinstance(value, np.timedelta64):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain_number)
