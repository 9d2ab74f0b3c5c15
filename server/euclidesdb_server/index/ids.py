"""The item ids of a segment's rows, concatenated, with the offset at which each begins.

With them a search can return ids without reading the store. On disk they are `ids.utf8` and
`ids.i64` (FORMAT.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

TEXT: Final = "ids.utf8"
OFFSETS: Final = "ids.i64"


class Ids:
    """The ids of rows 0..n-1. Immutable.

    text: the ids, UTF-8. offsets: int64, shape (n + 1,): the id of row i is
    `text[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, text: bytes, offsets: npt.NDArray[np.int64]) -> None:
        # slicing a str takes half the time of slicing and decoding bytes, but the offsets only
        # fit a str if every character is one byte
        self._text = text.decode() if text.isascii() else text
        self._offsets = offsets

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """The ids in a list, one per row."""
        encoded = [item_id.encode() for item_id in ids]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(b"".join(encoded), offsets)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises OSError; ValueError if the two files disagree."""
        text = (folder / TEXT).read_bytes()
        offsets = np.fromfile(folder / OFFSETS, "<i8").astype(np.int64, copy=False)
        if offsets[-1] != len(text):
            raise ValueError(f"{folder / OFFSETS} does not fit {folder / TEXT}")
        return cls(text, offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of the given rows, int64, shape (n,)."""
        text = self._text
        bounds = zip(self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), strict=True)
        if isinstance(text, str):
            return [text[start:stop] for start, stop in bounds]
        return [text[start:stop].decode() for start, stop in bounds]

    def save(self, folder: Path) -> None:
        """Write both files into `folder`."""
        text = self._text
        (folder / TEXT).write_bytes(text.encode() if isinstance(text, str) else text)
        (folder / OFFSETS).write_bytes(self._offsets.astype("<i8", copy=False).data)
