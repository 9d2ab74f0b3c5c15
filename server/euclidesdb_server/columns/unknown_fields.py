"""Which of the attributes that a request names no item has, and what may have been meant.

Most are misspelled. An attribute that items had once may count as known, until its block of columns
is merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from euclidesdb_server.columns.table_view import TableView
from euclidesdb_server.values.filters import All, AnyOf, Attribute, Exists, Field, Filter, Not

MAX_UNKNOWN: Final = 5
"""Names that are reported for one request."""
MAX_COMPARED: Final = 1000
"""Names that a misspelled one is compared with."""
MAX_CHARACTERS: Final = 64
"""Longer names are not compared."""


@dataclass(frozen=True, slots=True)
class UnknownField:
    """name: as it was given. similar: a name that there is, or ""."""

    name: str
    similar: str


def unknown_fields(
    view: TableView, fields: Iterable[Field], others: Iterable[str]
) -> list[UnknownField]:
    """The attributes among `fields` that no item has. others: names that are not attributes."""
    names = dict.fromkeys(field.path for field in fields if isinstance(field, Attribute))
    if not names or view.is_empty():
        return []
    unknown = [name for name in names if not view.has_attribute(name)][:MAX_UNKNOWN]
    if not unknown:
        return []
    known = [*others, *sorted(view.attribute_names())]
    compared = [name for name in known if len(name) <= MAX_CHARACTERS][:MAX_COMPARED]
    return [UnknownField(name, _similar(name, compared)) for name in unknown]


def fields_in(condition: Filter | None) -> Iterator[Field]:
    """The fields whose values a filter asks for; to ask whether they exist is not a mistake."""
    pending = [] if condition is None else [condition]
    while pending:
        match pending.pop():
            case All(filters) | AnyOf(filters):
                pending += filters
            case Not(negated):
                pending.append(negated)
            case Exists():
                pass
            case single:
                yield single.field


def _similar(name: str, known: list[str]) -> str:
    if len(name) > MAX_CHARACTERS:
        return ""
    found = get_close_matches(name, known, 1)
    return found[0] if found else ""
