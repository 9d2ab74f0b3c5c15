"""The item ids of a segment's rows, concatenated, with the offset at which each begins.

With them a search can return ids without reading the store. On disk they are `ids.utf8` and
`ids.i64` (FORMAT.md), which are memory-mapped: ten million ids take no memory of the process.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

TEXT: Final = "ids.utf8"
OFFSETS: Final = "ids.i64"
ROWS_AT_A_TIME: Final = 1 << 16

Offsets = npt.NDArray[np.int64]


class Ids:
    """The ids of rows 0..n-1. Immutable.

    text: the ids, UTF-8. offsets: int64, shape (n + 1,): the id of row i is
    `text[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, text: bytes | mmap.mmap, offsets: Offsets) -> None:
        self._text = text
        self._offsets = offsets
        # where each begins and ends, shape (n, 2); a view of the same memory
        self._bounds = as_strided(offsets, (len(offsets) - 1, 2), offsets.strides * 2)

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """The ids in a list, one per row."""
        encoded = [item_id.encode() for item_id in ids]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(b"".join(encoded), offsets)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what an `IdWriter` wrote. Raises OSError; ValueError if the two files disagree."""
        offsets = np.memmap(folder / OFFSETS, "<i8", mode="r")
        with (folder / TEXT).open("rb") as file:
            length = file.seek(0, 2)
            if not len(offsets) or offsets[-1] != length:
                raise ValueError(f"{folder / OFFSETS} does not fit {folder / TEXT}")
            # an empty file cannot be mapped
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if length else b""
        return cls(text, np.asarray(offsets, np.int64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def at(self, row: int) -> str:
        """The id of one row."""
        start, stop = self._bounds[row].tolist()
        return self._text[start:stop].decode()

    def take(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of the given rows, int64, shape (n,)."""
        text = self._text
        return [text[start:stop].decode() for start, stop in self._bounds[rows].tolist()]

    def parts(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[bytes, Offsets]]:
        """The ids of some rows, ascending, a part at a time: their text, and their lengths."""
        text = np.frombuffer(self._text, np.uint8)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = rows[start : start + ROWS_AT_A_TIME]
            firsts, ends = self._offsets[part], self._offsets[part + 1]
            lengths = ends - firsts
            if ends[-1] - firsts[0] == lengths.sum():  # the rows are consecutive
                yield text[firsts[0] : ends[-1]].tobytes(), lengths
                continue
            # byte j of the result is byte j - (end of the ids before it) + first of its id
            shift = firsts - (np.cumsum(lengths) - lengths)
            yield text[np.arange(lengths.sum()) + np.repeat(shift, lengths)].tobytes(), lengths

    def int32_rows(self) -> npt.NDArray[np.bool_]:
        """Which ids are the decimal form of an int32, as EuclidesDB's are. bool, shape (n,)."""
        found = np.zeros(len(self), np.bool_)
        text = np.frombuffer(self._text, np.uint8)
        for start in range(0, len(self), ROWS_AT_A_TIME):
            stop = min(start + ROWS_AT_A_TIME, len(self))
            found[start:stop] = _are_int32(text, self._offsets[start : stop + 1])
        return found


class IdWriter:
    """Writes both files into `folder`, some ids at a time; they are complete when it is closed.

    Raises OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._text = (folder / TEXT).open("wb")
        self._offsets = (folder / OFFSETS).open("wb")
        self._offsets.write(np.zeros(1, "<i8").data)
        self._end = 0

    def append(self, ids: Ids, rows: npt.NDArray[np.int64] | None = None) -> None:
        """Add the ids of some rows, or of all."""
        chosen = np.arange(len(ids)) if rows is None else rows
        for text, lengths in ids.parts(chosen):
            self._text.write(text)
            ends = self._end + np.cumsum(lengths)
            self._offsets.write(ends.astype("<i8").data)
            self._end = int(ends[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._text.close()
        finally:
            self._offsets.close()


_MAX_CHARACTERS: Final = 11
"""Characters of the longest int32 in decimal, "-2147483648"."""


def _are_int32(text: npt.NDArray[np.uint8], offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Whether each id is an int32 in decimal: no leading zero, no plus sign, no `-0`."""
    firsts, lengths = offsets[:-1], np.diff(offsets)
    possible = (lengths > 0) & (lengths <= _MAX_CHARACTERS)
    value = np.zeros(len(lengths), np.int64)
    if not len(text):
        return possible
    first = text[np.where(possible, firsts, 0)]
    negative = possible & (first == ord("-"))
    digits = lengths - negative
    possible &= (digits > 0) & (digits < _MAX_CHARACTERS)
    for place in range(_MAX_CHARACTERS - 1):
        inside = possible & (place < digits)
        digit = text[np.where(inside, firsts + negative + place, 0)].astype(np.int64) - ord("0")
        possible &= ~inside | ((digit >= 0) & (digit <= 9))
        if place == 0:  # "0" itself, or a number that does not begin with 0
            possible &= (digit != 0) | ((digits == 1) & ~negative)
        value = np.where(inside, value * 10 + digit, value)
    value = np.where(negative, -value, value)
    return possible & (value >= -(1 << 31)) & (value < 1 << 31)
