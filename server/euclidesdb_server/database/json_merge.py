"""Changes of a JSON object as text: JSON Merge Patch (RFC 7396), and the removal of members.

What is not changed stays as it is written, to the digit: numbers are not read, so 1.10, 2 ** 80 and
1e400 survive, and so do escapes and the order of members. Only objects that a change reaches into
are taken apart, and what is changed is written without blanks.

Both functions expect JSON objects, and return the very text if nothing changes. They raise
RecursionError if a change reaches too deep, ValueError or IndexError for a text that is not JSON.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final, NamedTuple, TypeAlias

Members: TypeAlias = "dict[str, Member]"
Opens: TypeAlias = "Callable[[str], Opens | None]"
"""Whether to take the object of a member apart, and then which of its own."""


class Member(NamedTuple):
    """A member of an object. name: as it is written, with quotes. value: as written, or taken
    apart.
    """

    name: str
    value: str | Members


_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""Tells where a value ends."""
_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def merged(text: str, patch: str) -> str:
    """`text` with the members of `patch`: objects are merged in turn, null removes a member."""
    changes = _members(patch, _everything)
    members = _members(text, _as_in(changes))
    return _written(members) if _merge(members, changes) else text


def without(text: str, paths: Iterable[str]) -> str:
    """`text` without some members; a path names one in a nested object with dots.

    A member whose own name has dots is removed, too.
    """
    ordered = sorted({*paths})
    members = _members(text, _below(ordered))
    return _written(members) if _remove(members, ordered) else text


def _everything(_: str) -> Opens:
    return _everything


def _as_in(changes: Members) -> Opens:
    def opens(name: str) -> Opens | None:
        change = changes.get(name)
        return None if change is None or isinstance(change.value, str) else _as_in(change.value)

    return opens


def _below(paths: Sequence[str]) -> Opens:
    @cache  # an object may have ten thousand members of one name
    def opens(name: str) -> Opens | None:
        inner = _paths_below(paths, name)
        return _below(inner) if inner else None

    return opens


def _paths_below(paths: Sequence[str], name: str) -> list[str]:
    """The rest of each path that leads into a member. paths: ascending, and so is the result."""
    start, rest = f"{name}.", list[str]()
    for index in range(bisect_left(paths, start), len(paths)):
        if not paths[index].startswith(start):
            break
        rest.append(paths[index][len(start) :])
    return rest


def _members(text: str, opens: Opens) -> Members:
    return _object_at(text, _skip(text, 0), opens)[0]


def _object_at(text: str, start: int, opens: Opens) -> tuple[Members, int]:
    """The members of the object that begins at `start`, and where it ends."""
    if text[start] != "{":
        raise ValueError(f"no object at {start}: {text[start : start + 20]!r}")
    members: Members = {}
    position = _skip(text, start + 1)
    while text[position] != "}":
        name, end = _DECODER.raw_decode(text, position)
        written = text[position:end]
        position = _skip(text, _skip(text, end) + 1)  # behind the colon
        inner = opens(name) if text[position] == "{" else None
        value: str | Members
        if inner is not None:
            value, end = _object_at(text, position, inner)
        else:
            _, end = _DECODER.raw_decode(text, position)
            value = text[position:end]
        members[name] = Member(written, value)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return members, position + 1


def _skip(text: str, position: int) -> int:
    """The next position that is not blank."""
    found = _BLANKS.match(text, position)
    return position if found is None else found.end()


def _merge(members: Members, changes: Members) -> bool:
    """Apply a patch; returns whether it changes anything."""
    changed = False
    for name, (written, value) in changes.items():
        old = members.get(name)
        if value == "null":
            changed |= members.pop(name, None) is not None
        elif isinstance(value, str):
            if old is None or old.value != value:
                members[name] = Member(written if old is None else old.name, value)
                changed = True
        elif old is not None and not isinstance(old.value, str):
            changed |= _merge(old.value, value)
        else:
            made: Members = {}
            _merge(made, value)  # leaves out what is null
            members[name] = Member(written if old is None else old.name, made)
            changed = True
    return changed


def _remove(members: Members, paths: Sequence[str]) -> bool:
    """Remove members; returns whether there were any. paths: ascending."""
    names, changed = {*paths}, False
    for name, (_, value) in [*members.items()]:
        if name in names:
            del members[name]
            changed = True
        elif not isinstance(value, str):
            changed |= _remove(value, _paths_below(paths, name))
    return changed


def _written(members: Members) -> str:
    parts = (
        f"{name}:{value if isinstance(value, str) else _written(value)}"
        for name, value in members.values()
    )
    return f"{{{','.join(parts)}}}"
