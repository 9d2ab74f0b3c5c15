"""How returned values are printed: without what was not requested, and long content in short."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from euclidesdb._types import Item

SHOWN_BYTES: Final = 32
SHOWN_CHARACTERS: Final = 60
SHOWN_ROWS: Final = 10
"""Longer content is abbreviated."""


def short(value: Any) -> str:
    """A value in a few words."""
    match value:
        case np.ndarray():
            return f"<{value.dtype} array of shape {value.shape}>"
        case bytes() if len(value) > SHOWN_BYTES:
            return f"<{len(value):,} bytes>"
        case str() | Mapping() if len(repr(value)) > SHOWN_CHARACTERS:
            return f"{repr(value)[:SHOWN_CHARACTERS]}..."
        case tuple() if len(value) > SHOWN_ROWS:
            return f"<{len(value):,} values>"
        case tuple():
            inside = ", ".join(map(short, value))
            return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def cell(text: str) -> str:
    """A text that comes from items, in a line of a terminal: printable, and not too long."""
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}..."
    return printable(text)


def printable(text: str) -> str:
    r"""`text` in which every character that is not printable is escaped, as in "\x1b"."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def dataclass_text(value: Any) -> str:
    """A dataclass with those of its fields that are not None."""
    pairs = ((each.name, getattr(value, each.name)) for each in fields(value))
    given = ", ".join(f"{name}={short(each)}" for name, each in pairs if each is not None)
    return f"{type(value).__name__}({given})"


def listed(head: str, rows: Sequence[Sequence[str]], count: int) -> str:
    """A head, and below it a table of the first of `count` rows."""
    width = max(map(len, rows), default=0)
    lines = [
        head,
        *(f"  {line}" for line in table([*row, *[""] * (width - len(row))] for row in rows)),
    ]
    if count > len(rows):
        lines.append(f"  and {count - len(rows):,} more")
    return "\n".join(lines)


def table(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table whose columns are aligned; numbers are on the right."""
    cells = [[*row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            " " * (width - _width(text)) + text
            if _is_number(text)
            else text + " " * (width - _width(text))
            for text, width in zip(row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] == "-"


def _width(text: str) -> int:
    """The columns that a printable text takes on the screen."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def items_text(head: str, items: Sequence[Item]) -> str:
    """A table of the first of some items."""
    rows = [
        [cell(item.id), cell(", ".join(item.models)), short(item.attributes)]
        for item in items[:SHOWN_ROWS]
    ]
    return listed(f"{head}:" if items else head, rows, len(items))
