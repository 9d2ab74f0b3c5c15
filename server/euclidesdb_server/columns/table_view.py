"""TableView: the items at one moment, and which of them match a filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import Block, BlockFilter, Mask
from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.columns.state_column import has_failed, has_vector
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.filters import Field, Filter
from euclidesdb_server.values.stop import CheckStop

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TableView:
    """blocks: each with the rows that are not deleted. Their order means nothing."""

    blocks: Sequence[tuple[Block, Mask]]

    def select(self, condition: Filter | None, check: CheckStop) -> Selection:
        """The items that match; None: all. check: called now and then; raises to end it."""
        if condition is None:
            return Selection([(block, np.flatnonzero(mask)) for block, mask in self.blocks])
        prepared = BlockFilter(condition)
        parts = []
        for block, mask in self.blocks:
            check()
            parts.append((block, np.flatnonzero(block.matching(prepared, check) & mask)))
        return Selection(parts)

    def values_of_vectors(
        self, space: int, labels: Labels, field: Field
    ) -> Iterator[tuple[RowNumbers, FieldValues]]:
        """The values of a field in the items that some vectors belong to.

        labels: of vectors in a space. Returns places among them, and the values of their items.
        """
        for block, alive in self.blocks:
            rows = block.rows_of_vectors(space, labels)
            places = np.flatnonzero((rows >= 0) & alive[rows])
            if len(places):
                yield places, block.values_at(field, rows[places])

    def is_empty(self) -> bool:
        """Whether there are no items."""
        return not any(mask.any() for _, mask in self.blocks)

    def has_attribute(self, path: str) -> bool:
        """Whether an item has an attribute. It may have been removed a moment ago."""
        return any(block.has_attribute(path) for block, _ in self.blocks)

    def attribute_names(self) -> set[str]:
        """The names of attributes, but for those that few items have."""
        return {path for block, _ in self.blocks for path in block.attribute_names()}


@dataclass(frozen=True)
class Selection:
    """Some items of a view. parts: the blocks, and rows of each, ascending.

    The items have numbers from 0 on: first those of the first part.
    """

    parts: Sequence[tuple[Block, RowNumbers]]

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    @cached_property
    def added(self) -> Labels:
        """The label of each item's first write, which no other item has."""
        return _joined([block.added[rows] for block, rows in self.parts])

    @cached_property
    def labels(self) -> Labels:
        """The label of each item's last write."""
        return _joined([block.labels[rows] for block, rows in self.parts])

    def ids(self, numbers: RowNumbers) -> list[str]:
        """The ids of items, by their numbers."""
        ids: list[str] = [""] * len(numbers)
        starts = np.cumsum([0, *(len(rows) for _, rows in self.parts)])
        sources = np.searchsorted(starts, numbers, side="right") - 1
        for source in np.unique(sources).tolist():
            block, rows = self.parts[source]
            places = np.flatnonzero(sources == source)
            found: list[str] = block.ids(rows[numbers[places] - starts[source]])
            if len(found) == len(ids):
                return found
            for place, item_id in zip(places.tolist(), found, strict=True):
                ids[place] = item_id
        return ids

    def vector_labels(self, space: int) -> Labels:
        """The labels of the vectors that items have in a space, in no particular order."""
        found = []
        for block, rows in self.parts:
            labels = block.vector_labels(space)
            if labels is not None:
                chosen = labels[rows]
                found.append(chosen[chosen > 0])
        return _joined(found)

    def any_in(self, space: int) -> bool:
        """Whether any of the items has a vector in a space, or its model has failed on one."""
        return any(
            (has_vector(block.batch, space)[rows] | has_failed(block.batch, space)[rows]).any()
            for block, rows in self.parts
        )

    def values(self, field: Field) -> list[FieldValues]:
        """The values of a field, of each part."""
        return [block.values_at(field, rows) for block, rows in self.parts]


def _joined(parts: Sequence[Labels]) -> Labels:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
