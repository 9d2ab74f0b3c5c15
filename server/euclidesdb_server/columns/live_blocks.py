"""LiveBlocks: blocks with the rows that are deleted, while others take their place. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import Block, Mask
from euclidesdb_server.store import ColumnsFile


class LiveBlock:
    """A block, and which of its rows are not deleted. Guarded by `LiveBlocks`.

    file: what the store names it by; None if it is in memory alone. busy: it is being replaced.
    """

    def __init__(
        self, block: Block, alive: Mask | None = None, file: ColumnsFile | None = None
    ) -> None:
        self.block = block
        self.file = file
        self.busy = False
        self.alive = np.ones(len(block), np.bool_) if alive is None else alive
        self.count = int(np.count_nonzero(self.alive))
        self._shared = False

    def mask(self) -> Mask:
        """The rows that are not deleted now; it does not change any more."""
        self._shared = True
        return self.alive

    def delete(self, row: int) -> None:
        """Delete a row; deleting it again changes nothing."""
        if self.alive[row]:
            if self._shared:
                self.alive = self.alive.copy()
                self._shared = False
            self.alive[row] = False
            self.count -= 1


@dataclass(slots=True, eq=False)
class Rewriting:
    """Blocks that are about to be replaced by one with their rows.

    masks: the rows that were not deleted when it began. deleted: labels deleted since.
    """

    sources: Sequence[LiveBlock]
    masks: Sequence[Mask]
    deleted: list[int] = field(default_factory=list)

    def pairs(self) -> list[tuple[Block, Mask]]:
        """Each block with the rows to keep."""
        return [(source.block, mask) for source, mask in zip(self.sources, self.masks, strict=True)]


class LiveBlocks:
    """The blocks of all items at every moment, in no particular order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: tuple[LiveBlock, ...] = ()
        self._rewritings: list[Rewriting] = []

    def __iter__(self) -> Iterator[LiveBlock]:
        return iter(self._blocks)

    def view(self) -> list[tuple[Block, Mask]]:
        """The blocks, and the rows of each that are not deleted, at one moment."""
        with self._lock:
            return [(each.block, each.mask()) for each in self._blocks if each.count]

    def add(self, blocks: Iterable[LiveBlock], deleted: Iterable[int]) -> set[int]:
        """Add blocks without the rows of some labels; returns the labels that none of them has."""
        with self._lock:
            self._blocks = (*self._blocks, *blocks)
            return {label for label in deleted if not self._delete(label)}

    def delete(self, label: int) -> bool:
        """Delete the row of a label; False if there is none."""
        with self._lock:
            return self._delete(label)

    @contextmanager
    def rewriting(self, sources: Sequence[LiveBlock]) -> Iterator[Rewriting]:
        """Note what is deleted in some blocks while they are being replaced (`replace`)."""
        with self._lock:
            rewriting = Rewriting(sources, [source.mask() for source in sources])
            self._rewritings.append(rewriting)
        try:
            yield rewriting
        finally:
            with self._lock:
                self._rewritings.remove(rewriting)

    def replace(self, rewriting: Rewriting, new: Sequence[LiveBlock]) -> None:
        """Put new blocks in the place of those that are being rewritten."""
        with self._lock:
            rest = [each for each in self._blocks if each not in rewriting.sources]
            self._blocks = (*rest, *new)
            for label in rewriting.deleted:
                self._delete(label)

    def _delete(self, label: int) -> bool:
        for each in self._blocks:
            labels = each.block.labels
            if not len(labels) or not labels[0] <= label <= labels[-1]:
                continue
            row = each.block.row_of(label)
            if row is not None and each.alive[row]:
                each.delete(row)
                for rewriting in self._rewritings:
                    if each in rewriting.sources:
                        rewriting.deleted.append(label)
                return True
        return False


def newest(rows: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> list[Mask]:
    """Of (labels, added) of several blocks: the rows with the greatest label of their item."""
    labels = np.concatenate([each[0] for each in rows]) if rows else np.empty(0, np.int64)
    added = np.concatenate([each[1] for each in rows]) if rows else np.empty(0, np.int64)
    order = np.lexsort((labels, added))
    last = np.ones(len(order), np.bool_)
    last[:-1] = added[order[1:]] != added[order[:-1]]
    kept = np.zeros(len(order), np.bool_)
    kept[order[last]] = True
    return np.split(kept, np.cumsum([len(each[0]) for each in rows])[:-1]) if rows else []
