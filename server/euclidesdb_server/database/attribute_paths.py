"""Attributes by path: the value of one, or a JSON object with only some of them.

A path is the name of an attribute; of one in a nested object, the names with dots in between:
"size.width". A name that has dots itself is found, too. Values keep the text that was stored:
numbers lose no digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

_MISSING: Final = object()
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode

_Inner: TypeAlias = Callable[[Any], Mapping[str, Any] | None]
"""The members of a value that is an object; None if it is not one."""


def value_at(attributes_json: str, path: str) -> Any:
    """The value at a path; None if there is none, or if it is null."""
    try:
        found = _found(_members(attributes_json), path, _raw_object)
        return None if found is _MISSING else _value(found)
    except _UNREADABLE:  # the standard library reads more: see `validation.check_attributes`
        found = _found(json.loads(attributes_json), path, _object)
        return None if found is _MISSING else found


def selected(attributes_json: str, paths: Sequence[str]) -> str:
    """A JSON object with only the values at some paths, nested as they were."""
    try:
        chosen = _selected(_members(attributes_json), paths, _raw_object)
        return msgspec.json.encode(chosen).decode()
    except _UNREADABLE:
        chosen = _selected(json.loads(attributes_json), paths, _object)
        return json.dumps(chosen, ensure_ascii=True, separators=(",", ":"))


def _found(members: Mapping[str, Any], path: str, inner: _Inner) -> Any:
    if path in members:
        return members[path]
    for name, rest in _splits(path):
        if name in members and (nested := inner(members[name])) is not None:
            found = _found(nested, rest, inner)
            if found is not _MISSING:
                return found
    return _MISSING


def _selected(members: Mapping[str, Any], paths: Sequence[str], inner: _Inner) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    below: dict[str, list[str]] = {}
    for path in paths:
        if path in members:
            chosen[path] = members[path]
        for name, rest in _splits(path):
            if name in members:
                below.setdefault(name, []).append(rest)
    for name, rests in below.items():
        if name not in chosen and (nested := inner(members[name])) is not None:
            part = _selected(nested, rests, inner)
            if part:
                chosen[name] = part
    return chosen


def _splits(path: str) -> Iterator[tuple[str, str]]:
    """The parts before and after each dot."""
    dot = path.find(".")
    while dot >= 0:
        yield path[:dot], path[dot + 1 :]
        dot = path.find(".", dot + 1)


def _raw_object(value: msgspec.Raw) -> Mapping[str, Any] | None:
    return _members(value) if bytes(memoryview(value)[:1]) == b"{" else None


def _object(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None
