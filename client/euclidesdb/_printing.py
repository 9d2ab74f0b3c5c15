"""How returned values are printed: without what was not requested, and long content in short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

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


def dataclass_text(value: Any) -> str:
    """A dataclass with those of its fields that are not None."""
    pairs = ((each.name, getattr(value, each.name)) for each in fields(value))
    given = ", ".join(f"{name}={short(each)}" for name, each in pairs if each is not None)
    return f"{type(value).__name__}({given})"


def table(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table whose columns are aligned; numbers are on the right."""
    cells = [[*row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.rjust(width) if cell[:1].isdigit() or cell[:1] == "-" else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()
