"""LabelSet: a set of labels at eight bytes each, for sets of millions."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator, Set


class LabelSet(Set[int]):
    """Labels in ascending order. Adding one is fast if it is greater than all others."""

    def __init__(self) -> None:
        self._labels = array("Q")

    def add(self, label: int) -> None:
        """Add a label that is not in the set. Raises OverflowError if it is not a u64."""
        if self._labels and label < self._labels[-1]:
            insort(self._labels, label)
        else:
            self._labels.append(label)

    def __contains__(self, label: object) -> bool:
        if not isinstance(label, int):
            return False
        position = bisect_left(self._labels, label)
        return position < len(self._labels) and self._labels[position] == label

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)
