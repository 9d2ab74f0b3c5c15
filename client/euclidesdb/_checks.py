"""Checks of a call's arguments.

Values that protobuf itself would reject with an obscure message raise a clear ValueError or
TypeError here. Everything else is left to the server, whose messages know more.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Union

import numpy as np

if TYPE_CHECKING:
    from uuid import UUID

T = TypeVar("T")
ItemId: TypeAlias = Union[str, int, "UUID"]
"""The id of an item; it is stored, and returned, as a string."""

_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]+://|data:")
_CONTAINERS = (dict, list, tuple)


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
        raise TypeError(f"{name} must be a str, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        part = ascii(value[max(0, error.start - 20) : error.end + 20])  # it may be a whole book
        raise ValueError(f"{name} must be valid Unicode, which {part} is not") from error
    return value


def item_id(name: str, value: ItemId) -> str:
    """The id of an item as it is stored: that of an int or a UUID is its text."""
    if isinstance(value, str):
        return text(name, value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_):
        return str(int(value))
    if _is_uuid(value):
        return str(value)
    raise TypeError(f"{name} must be a str, an int or a uuid.UUID, not {shown(value)}")


def item_ids(name: str, values: Iterable[ItemId]) -> list[str]:
    """The ids of items as they are stored; a single one is refused."""
    if isinstance(values, str) or _is_uuid(values):
        raise TypeError(f"{name} must be a sequence of ids: [{values!r}], not {values!r}")
    checked: list[Any] = list(items(name, values, "ids"))
    try:
        "".join(checked).encode()  # as in `names`
    except (TypeError, UnicodeEncodeError):
        return [item_id(f"{name}[{position}]", value) for position, value in enumerate(checked)]
    return checked


def _is_uuid(value: object) -> bool:
    # To import `uuid` takes milliseconds; who has a UUID has imported it.
    module = sys.modules.get("uuid")
    return module is not None and isinstance(value, module.UUID)


def shown_id(value: object) -> str:
    """An id for a message or an outcome, whatever it is."""
    try:
        return item_id("id", value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value if isinstance(value, str) else repr(value)


def local_path(name: str, path: str | os.PathLike[str]) -> str:
    """A path of this machine. Raises ValueError for a URL, or if it is empty."""
    given = os.fspath(path)
    if not given:
        raise ValueError(f"{name} must not be empty")
    if _URL.match(given):
        raise ValueError(f"{name} must be on this machine: {given[:100]!r} is a URL")
    return given


def names(name: str, values: Iterable[str]) -> list[str]:
    """`values` as a list of checked strs; a single str, which iterates by letters, is refused."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of names: [{values!r}], not {values!r}")
    checked = list(items(name, values, "names"))
    try:
        "".join(checked).encode()  # a million are checked at once, in a tenth of the time
    except (TypeError, UnicodeEncodeError):
        for position, value in enumerate(checked):
            text(f"{name}[{position}]", value)
        raise
    return checked


def items(name: str, values: Iterable[T], kind: str) -> Iterator[T]:
    """An iterator of `values`. kind: what they are, for the message of the TypeError."""
    try:
        return iter(values)
    except TypeError as error:
        raise TypeError(f"{name} must be an iterable of {kind}, not {shown(values)}") from error


def flag(name: str, value: bool) -> bool:
    """`value`, checked to be True or False: any text, "no" as well, would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def int32(name: str, value: int) -> int:
    """`value`, checked to be an integer of 32 bits."""
    return _integer(name, value, 32)


def int64(name: str, value: int) -> int:
    """`value`, checked to be an integer of 64 bits."""
    return _integer(name, value, 64)


def _integer(name: str, value: int, bits: int) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, not {shown(value)}") from error
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"{name} must fit in {bits} bits, which {number} does not")
    return number


def number(name: str, value: float | None) -> float | None:
    """`value`, checked to be a real number or None."""
    if value is None:
        return None
    if not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be a number that a float can hold: {error}") from error


def positive(name: str, value: int) -> int:
    """`value`, checked to be a positive number, without its fraction."""
    if not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    if not 1 <= value < math.inf:
        raise ValueError(f"{name} must be at least 1, and finite, not {value}")
    return int(value)


def opaque(name: str, value: bytes) -> bytes:
    """`value` as bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} must be bytes, not {shown(value)}")
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
        raise TypeError(f"{name} must be a mapping, not {shown(attributes)}")
    try:
        return _json(name, dict(attributes))
    except _KeyRefused:
        raise
    except (TypeError, ValueError, RecursionError):
        for key, value in attributes.items():
            try:
                _json(name, {key: value})
            except RecursionError as error:
                raise ValueError(
                    f"{name} must not be nested as deeply as {reprlib.repr(value)} under {key!r}"
                ) from error
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                where = f"{reprlib.repr(value)} under {key!r}"
                raise kind(f"{name} must hold JSON values, not {where}: {error}") from error
        raise


class _KeyRefused(TypeError):
    """A key that is not a string."""


def _json(name: str, attributes: dict[Any, Any]) -> str:
    encoded = text(name, _JSON.encode(attributes))
    _check_keys(name, attributes)
    return encoded


def _check_keys(name: str, value: Any) -> None:
    """Raise TypeError for a key that JSON would rewrite: 1 and "1" would become the same."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise _KeyRefused(
                    f"{name} must have keys of type str, not {key!r}, of type {type(key).__name__}"
                )
            if isinstance(part, _CONTAINERS):
                _check_keys(name, part)
    elif isinstance(value, list | tuple):
        for part in value:
            if isinstance(part, _CONTAINERS):
                _check_keys(name, part)


def shown(value: object) -> str:
    """The type of a value and its beginning, for an error message."""
    return f"{type(value).__name__}: {reprlib.repr(value)}"


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
