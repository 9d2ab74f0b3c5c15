"""VectorColumns: many items with a ready-made vector each, by columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from euclidesdb_server.values.arrays import Matrix


@dataclass(frozen=True, slots=True)
class VectorColumns:
    """Ready-made vectors of one model, one for each id.

    vectors: shape (ids, feature_dim). attributes_json, metadata: one for each id; None keeps what
    is stored.
    """

    ids: Sequence[str]
    vectors: Matrix
    attributes_json: Sequence[str] | None = None
    metadata: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> VectorColumns:
        """Some of the rows; slices of the columns if the rows are a range."""
        if isinstance(rows, range) and rows.step == 1:
            part = slice(rows.start, rows.stop)
            return VectorColumns(
                self.ids[part],
                self.vectors[part],
                None if self.attributes_json is None else self.attributes_json[part],
                None if self.metadata is None else self.metadata[part],
            )
        return VectorColumns(
            [self.ids[row] for row in rows],
            self.vectors[list(rows)],
            None if self.attributes_json is None else [self.attributes_json[row] for row in rows],
            None if self.metadata is None else [self.metadata[row] for row in rows],
        )
