"""Tables and JSON on a terminal.

Ids and attributes may contain anything. They are printed so that no control character reaches the
terminal, which it could drive.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

MAX_CELL: Final = 48
"""Columns on the screen; a longer value in a table is cut."""

# What JSON leaves as it is, but must not reach a terminal: controls, and what changes directions.
_UNPRINTABLE: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""`text` in which every character that is not printable is escaped, as in "\x1b"."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def printable_lines(text: str) -> str:
    """As `printable`, but lines stay."""
    return "\n".join(map(printable, text.split("\n")))


def json_text(value: Any) -> str:
    """`value` as one line of JSON; bytes are base64."""
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    print(json_text(value))


def shown(value: Any) -> str:
    """A value of an attribute, as a cell of a table."""
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) else json_text(value)


def width(text: str) -> int:
    """The columns that a printable text takes on the screen."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def cut(text: str, columns: int = MAX_CELL) -> str:
    """`text`, or its beginning and an ellipsis, in so many columns on the screen."""
    if width(text) <= columns:
        return text
    kept = text[: columns - 1]
    while width(kept) > columns - 1:
        kept = kept[:-1]
    return f"{kept}…"


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    max_cell: int = MAX_CELL,
) -> None:
    """Print rows of printable cells under their heads. right: the heads of columns of numbers."""
    table = [[cut(cell, max_cell) for cell in row] for row in [heads, *rows]]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            " " * (space - width(cell)) + cell
            if head in right
            else cell + " " * (space - width(cell))
            for head, cell, space in zip(heads, row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def counted(number: int, noun: str = "item") -> str:
    """A number of things, as in "1 item" and "2,000 items"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """An attribute by its name, with dots for one in a nested object; None if there is none."""
    if name in attributes:
        return attributes[name]
    value: Any = attributes
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.tolist()  # an array, or a number of NumPy
