"""The ids of a segment's rows: all of them behind one another, and where each begins.

On disk `ids.utf8` and `ids.i64` (FORMAT.md). A search names its rows without asking the store.
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
    """Immutable; row by row.

    text: UTF-8. offsets: int64, shape (rows + 1,): row i is `text[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, text: bytes, offsets: npt.NDArray[np.int64]) -> None:
        # a slice of a str costs half of what a slice of bytes and its decoding do; only where
        # every letter is one byte do the offsets fit
        self._text = text.decode() if text.isascii() else text
        self._offsets = offsets

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """Pack a list."""
        encoded = [item_id.encode() for item_id in ids]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(b"".join(encoded), offsets)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises OSError, ValueError where the two files disagree."""
        text = (folder / TEXT).read_bytes()
        offsets = np.fromfile(folder / OFFSETS, "<i8").astype(np.int64, copy=False)
        if offsets[-1] != len(text):
            raise ValueError(f"{folder / OFFSETS} does not fit {folder / TEXT}")
        return cls(text, offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of the rows, shape (n,)."""
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
