"""Tables and JSON on a terminal.

Ids and attributes may contain anything. They are printed so that no control character reaches the
terminal, which it could drive.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

MAX_CELL: Final = 48
"""Columns on the screen; a longer value in a table is cut."""


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
    """`value` as one line of JSON, of printable characters only; bytes are base64."""
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    if text.isprintable():
        return text
    # those that are left are in strings
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


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
    fitted: bool = False,
) -> None:
    """Print rows of printable cells under their heads.

    right: the heads of columns of numbers. Ids, in columns "id", are not cut. fitted: leave out the
    last columns if the terminal is too narrow.
    """
    table = [
        [
            cell if head == "id" else cut(cell, max_cell)
            for head, cell in zip(heads, row, strict=True)
        ]
        for row in [heads, *rows]
    ]
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    kept = _fitting(widths) if fitted and sys.stdout.isatty() else len(widths)
    for row in table:
        cells = [
            " " * (space - width(cell)) + cell
            if head in right
            else cell + " " * (space - width(cell))
            for head, cell, space in zip(heads[:kept], row, widths, strict=False)
        ]
        print("  ".join([*cells, *["…"] * (kept < len(row))]).rstrip())


def _fitting(widths: Sequence[int]) -> int:
    """How many of the columns fit into the terminal."""
    space = shutil.get_terminal_size().columns
    ends = list(accumulate(each + 2 for each in widths))
    if ends[-1] - 2 <= space:
        return len(widths)
    return max(1, sum(end + 1 <= space for end in ends))  # an ellipsis shows that some are missing


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
