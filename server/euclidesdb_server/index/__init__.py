"""The live index: one searchable space of vectors per model version.

A space is a segment that an engine built, plus the rows written since (unindexed rows), minus the
deleted rows. `ModelSpace` searches it; `Compactor` builds new segments in the background, and
`RecallSampler` measures how much the engine finds. `verify.py` checks segments against the store.

Promises: a row is returned from its publication until its deletion; a
search sees one moment of the space; no search or write waits for a build; a segment that is lost
or damaged is rebuilt from the store.

Knows rows: labels, item ids and vectors. Does not know items' attributes and payloads, filters,
models or gRPC. It reads rows and tombstones from the store, and deletes tombstones that no segment
needs; everything else there is written by others.
"""

from euclidesdb_server.index.compactor import Compactor
from euclidesdb_server.index.recall import RecallSampler
from euclidesdb_server.index.segment_builder import SegmentBuilder
from euclidesdb_server.index.space import ModelSpace

__all__ = ["Compactor", "ModelSpace", "RecallSampler", "SegmentBuilder"]
