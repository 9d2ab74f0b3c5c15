"""BlockWriter: writes blocks in memory to files, and merges these so that they stay few."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from euclidesdb_server.columns.block import Block, Mask
from euclidesdb_server.columns.block_files import BlockFiles
from euclidesdb_server.columns.live_blocks import LiveBlock, LiveBlocks, Rewriting
from euclidesdb_server.columns.merging import MAX_BYTES, merged
from euclidesdb_server.store import ColumnsRecord, FeatureStore

FACTOR: Final = 8
"""So many files of about the same size become one."""
MAX_ROWS: Final = 1 << 20
"""Of a block that is made of others."""
MAX_DELETED_SHARE: Final = 0.5
"""A file with more deleted rows is written again without them."""


class BlockWriter:
    """Writes the files of blocks. For one thread."""

    def __init__(
        self, store: FeatureStore, files: BlockFiles, live: LiveBlocks, flush_rows: int
    ) -> None:
        self._store = store
        self._files = files
        self._live = live
        self._flush_rows = flush_rows

    def choose(self) -> list[LiveBlock]:
        """The blocks in memory, which nothing else replaces from now on."""
        chosen = [each for each in self._live if each.file is None]
        for each in chosen:
            each.busy = True
        return chosen

    def flush(self, chosen: Sequence[LiveBlock], watermark: int) -> bool:
        """Write the rows of blocks with labels up to `watermark` to a file; False if none has.

        watermark: taken before the last block was made, so that no row up to it is missing.
        Raises StorageError; the blocks stay in memory then.
        """
        try:
            with self._live.rewriting(chosen) as rewriting:
                pairs = rewriting.pairs()
                flushed = merged(
                    [_part(block, mask, watermark, after=False) for block, mask in pairs]
                )
                later = merged([_part(block, mask, watermark, after=True) for block, mask in pairs])
                self._replace(rewriting, flushed, [*map(LiveBlock, later)], up_to=watermark)
                return bool(flushed)
        finally:
            for each in chosen:
                each.busy = False

    def merge(self) -> bool:
        """Merge some files if there are too many, or too many deleted rows; whether it was done."""
        sources = self._next_merge()
        if not sources:
            return False
        with self._live.rewriting(sources) as rewriting:
            self._replace(rewriting, merged(rewriting.pairs()), [], up_to=None)
        return True

    def _next_merge(self) -> list[LiveBlock]:
        tiers: dict[int, list[LiveBlock]] = defaultdict(list)
        for each in self._live:
            if each.file is None:
                continue
            if each.count < (1 - MAX_DELETED_SHARE) * len(each.block):
                return [each]
            tiers[int(math.log(max(1, each.count / self._flush_rows), FACTOR))].append(each)
        for tier in sorted(tiers):
            files = sorted(tiers[tier], key=lambda each: each.block.batch.nbytes)
            count = next(
                (n for n in range(FACTOR, 1, -1) if are_mergeable(files[:n])),
                0,
            )
            if len(files) >= FACTOR and count:
                return files[:count]
        return []

    def _replace(
        self,
        rewriting: Rewriting,
        blocks: Sequence[Block],
        rest: Sequence[LiveBlock],
        *,
        up_to: int | None,
    ) -> None:
        """Put blocks in the place of others: on disk, in the store, and in views."""
        before = self._store.columns()
        # what a view has, not what the store names: a write in doubt may have named others
        files = [
            each.file
            for each in self._live
            if each.file is not None and each not in rewriting.sources
        ]
        generation = max((file.generation for file in (*before.files, *files)), default=0)
        new = [*rest]
        for block in blocks:
            generation += 1
            file = self._files.write(block, generation)
            files.append(file)
            new.append(LiveBlock(self._files.mapped(generation), file=file))
        self._store.accept_columns(
            ColumnsRecord(files, before.up_to_label if up_to is None else up_to)
        )
        self._live.replace(rewriting, new)
        self._files.delete_others([file.generation for file in files])


def are_mergeable(blocks: Sequence[LiveBlock]) -> bool:
    """Whether blocks may become one."""
    size = sum(each.block.batch.nbytes for each in blocks)
    return sum(each.count for each in blocks) <= MAX_ROWS and size <= MAX_BYTES


def _part(block: Block, mask: Mask, watermark: int, *, after: bool) -> tuple[Block, Mask]:
    later = block.labels > watermark
    return block, mask & (later if after else ~later)
