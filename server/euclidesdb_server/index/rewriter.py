"""Rewriter: writes the rows of a space into new segments.

- **flush**: the unindexed rows become a segment.
- **merge**: neighboring segments become one, without their deleted rows.
- **compact**: both, until everything is one segment.
- **rebuild**: a segment whose files are damaged is written again from the store.

Searches and writes go on meanwhile. A rewrite that fails or is cancelled changes nothing. At most
one flush and one merge of a space run at a time, next to each other, and tombstones are moved
at the same time.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Final

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.protocol import needs_build
from euclidesdb_server.errors import StorageError
from euclidesdb_server.index import segment_files as files
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.row_blocks import (
    RowBlock,
    block_of_stored,
    blocks_of_segment,
    blocks_of_taken,
)
from euclidesdb_server.index.segment_builder import BuildFailed
from euclidesdb_server.index.segment_folder import SegmentFolder, check_not_stopped
from euclidesdb_server.index.space_rows import Rewrite, SpaceRows
from euclidesdb_server.store import Bits, FeatureStore, SegmentRecord, SpaceRecord
from euclidesdb_server.store.segment_records import CHUNK_ROWS
from euclidesdb_server.values.arrays import Labels

log = logging.getLogger(__name__)

MAX_MOVED: Final = 512
"""Tombstones that one write to the store moves, so that no add waits long behind it."""


class Rewriter:
    """Rewrites the segments of one space. Thread-safe."""

    def __init__(
        self,
        rows: SpaceRows,
        folder: SegmentFolder,
        store: FeatureStore,
        record: SpaceRecord,
        engine: SearchEngine,
    ) -> None:
        self._rows = rows
        self._folder = folder
        self._store = store
        self._record = record
        self._engine = engine
        # their vectors have not been compared with their checksums yet
        self._unverified = {segment.record.generation for segment in rows.segments}
        self._flushing = threading.Lock()
        self._merging = threading.Lock()
        self._running = 0
        self._running_lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether a segment is being written."""
        return self._running > 0

    @property
    def verifying(self) -> bool:
        """Whether there are segments whose vectors have not been verified yet."""
        return bool(self._unverified)

    def flush(self, cancelled: threading.Event, *, build: bool = True) -> bool:
        """Write the unindexed rows as a segment; whether there were any to write.

        build: with an index, if the engine builds any.

        Raises BuildFailed, DiskFull, StorageError, ShuttingDown.
        """
        with self._flushing, self._counted():
            # All rows up to the low watermark are stored and published.
            up_to_label = self._store.labels.low_watermark()
            rewrite = self._rows.begin_flush(up_to_label)
            try:
                if rewrite.taken is None or not len(rewrite.taken):
                    self._rows.finish(rewrite, None, self._accept, up_to_label=up_to_label)
                    return False
                segments = self._rows.segments
                after = segments[-1].record.up_to_label if segments else 0
                new = self._folder.write(
                    blocks_of_taken(rewrite.taken),
                    after,
                    up_to_label,
                    build=build or not needs_build(self._engine),
                    cancelled=cancelled,
                )
                self._rows.finish(rewrite, new, self._accept, up_to_label=up_to_label)
            finally:
                self._rows.abandon(rewrite)
            self._log(new, "unindexed rows")
            return True

    def merge(self, sources: Sequence[IndexedSegment], cancelled: threading.Event) -> None:
        """Write neighboring segments as one; one alone is written again.

        Raises BuildFailed, DiskFull, StorageError, ShuttingDown. A source that turns out to be
        damaged is rebuilt instead.
        """
        with self._merging, self._counted():
            current = self._rows.segments
            if any(source not in current for source in sources):
                return  # another merge was faster
            for source in sources:
                if not self._verify(source, cancelled):
                    return
            rewrite = self._rows.begin_merge(sources)
            blocks = chain.from_iterable(
                blocks_of_segment(source, mask)
                for source, mask in zip(sources, rewrite.masks, strict=True)
            )
            self._replace(rewrite, blocks, cancelled, build=True)

    def compact(self, cancelled: threading.Event) -> None:
        """Write everything as one segment. Raises as `merge`."""
        self.flush(cancelled)
        segments = self._rows.segments
        if len(segments) > 1 or any(each.outdated or each.alive < len(each) for each in segments):
            self.merge(segments, cancelled)
        self.move_tombstones(cancelled)

    def verify(self, cancelled: threading.Event) -> None:
        """Compare the vectors of every segment with their checksums; rebuild those that differ.

        If some cannot be rebuilt, the others are, before it raises BuildFailed, CorruptRecord (the
        rows in the store are damaged, too), DiskFull or StorageError. Raises ShuttingDown.
        """
        failures: list[Exception] = []
        for segment in self._rows.segments:
            if segment.record.generation in self._unverified:
                with self._merging, self._counted():
                    try:
                        if segment in self._rows.segments:
                            self._verify(segment, cancelled)
                        self._unverified.discard(segment.record.generation)
                    except (BuildFailed, StorageError) as error:
                        failures.append(error)
        if failures:
            raise failures[0]

    def move_tombstones(self, cancelled: threading.Event) -> None:
        """Move tombstones into the bitmaps of deleted rows; drop those that no segment needs.

        Only of rows that are deleted here, too: a deletion that is stored but not published yet
        may still be missed by a rewrite. Raises StorageError, ShuttingDown.
        """
        tombstones = self._store.tombstones(self._record.number)
        for start in range(0, len(tombstones), MAX_MOVED):
            check_not_stopped(cancelled)
            part = tombstones[start : start + MAX_MOVED]
            self._rows.settle(self._accept, functools.partial(self._move, part))

    def _move(self, labels: Labels, segments: Sequence[IndexedSegment]) -> None:
        gone = self._rows.deleted(labels)
        moved: dict[int, tuple[Bits, Iterable[int]]] = {}
        for segment in segments:
            rows = segment.rows_of(gone)
            if len(rows):
                chunks = sorted({*(rows // CHUNK_ROWS).tolist()})
                moved[segment.record.generation] = segment.deletions.bits(), chunks
        if len(gone):
            self._store.move_tombstones(self._record.number, gone.tolist(), moved)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._running_lock:
            self._running += 1
        try:
            yield
        finally:
            with self._running_lock:
                self._running -= 1

    def _verify(self, segment: IndexedSegment, cancelled: threading.Event) -> bool:
        """Whether the vectors of a segment are intact; rebuilds it if not."""
        if segment.record.generation not in self._unverified:
            return True
        try:
            files.check_vectors(segment.folder, segment.manifest, cancelled)
        except (OSError, ValueError) as error:
            log.error(
                "space %d (%s): segment %s is damaged, and is rebuilt from the store: %s",
                self._record.number, self._record.model, segment.folder, error,
            )  # fmt: skip
            self._rebuild(segment, cancelled)
            return False
        self._unverified.discard(segment.record.generation)
        return True

    def _rebuild(self, segment: IndexedSegment, cancelled: threading.Event) -> None:
        """Write a segment again from the store, without an index at first: that is quick."""
        rewrite = self._rows.begin_merge([segment])
        record = self._record
        stored = self._store.rows(
            record.number,
            record.feature_dim,
            after=segment.record.after_label,
            up_to=segment.record.up_to_label,
        )
        blocks = (block_of_stored(piece, self._engine.metric) for piece in stored)
        self._replace(
            rewrite,
            blocks,
            cancelled,
            build=not needs_build(self._engine),
            # A write that is stored but not published yet has deleted its old row there: until its
            # new row is published, searches need the old segment.
            before_swap=self._store.labels.wait_for_writes,
        )

    def _replace(
        self,
        rewrite: Rewrite,
        blocks: Iterable[RowBlock],
        cancelled: threading.Event,
        *,
        build: bool,
        before_swap: Callable[[], None] | None = None,
    ) -> None:
        first, last = rewrite.sources[0].record, rewrite.sources[-1].record
        try:
            new = self._folder.write(
                blocks, first.after_label, last.up_to_label, build=build, cancelled=cancelled
            )
            if before_swap is not None:
                before_swap()
            self._rows.finish(rewrite, new, self._accept)
        finally:
            self._rows.abandon(rewrite)
        for source in rewrite.sources:
            files.delete(source.folder)
        self._log(new, f"{len(rewrite.sources)} segments")

    def _accept(self, records: Sequence[SegmentRecord], deleted: Mapping[int, Bits]) -> None:
        self._store.accept_segments(self._record.number, records, deleted)

    def _log(self, new: IndexedSegment | None, sources: str) -> None:
        if new is not None:
            log.info(
                "space %d (%s): segment %d of %d rows up to label %d, from %s: %s",
                self._record.number, self._record.model, new.record.generation, len(new),
                new.record.up_to_label, sources, new.segment.description,
            )  # fmt: skip
