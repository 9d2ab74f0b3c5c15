"""Rows of a file, some at a time: one by one, or as columns if each is a vector of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from euclidesdb._item_rows import BadRow, Row, VectorColumn

ROWS_AT_A_TIME: Final = 4096


class Wants(Protocol):
    """Which columns of vectors are imported."""

    def __call__(self, column: VectorColumn) -> bool:
        """Whether it is. Raises UnknownModel or VersionMismatch if the server cannot take it."""

    def as_columns(self, column: VectorColumn, dim: int) -> bool:
        """Whether the server adds ready-made vectors of this length, many with one message."""


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Items of which each has one ready-made vector and no payload.

    vectors: shape (ids, dim). attributes_json, metadata: one for each id; None: the file has none.
    """

    column: VectorColumn
    ids: Sequence[str]
    vectors: npt.NDArray[np.float32]
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None


class RowBatch(Protocol):
    """Some rows of a file, which are in memory."""

    def rows(self) -> Iterator[Row | BadRow]:
        """Each of them. Raises TypeError or ValueError if they are not rows of items."""

    def columns(self, wants: Wants) -> RowColumns | None:
        """The same, without a step for each row; None if that is not possible."""


class SingleRow:
    """A batch of one row. See RowBatch."""

    def __init__(self, row: Row | BadRow) -> None:
        self._row = row

    def rows(self) -> Iterator[Row | BadRow]:
        """See RowBatch."""
        yield self._row

    def columns(self, wants: Wants) -> None:
        """See RowBatch."""


class RowSource(Protocol):
    """An open file of items."""

    def batches(self) -> Iterator[RowBatch]:
        """The items, in order, some at a time. Raises as `RowBatch.rows`."""

    def count(self) -> int | None:
        """Their number, if it is known."""

    def close(self) -> None:
        """Close the file."""
