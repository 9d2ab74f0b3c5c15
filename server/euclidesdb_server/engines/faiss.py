"""The faiss engine: any index of faiss's index factory.

faiss proposes rows, `distances` measures them. So `l2` is the distance, not faiss's square;
compressed, binary (`LSH`) and inner-product indexes all answer in the metric asked for; and
a loss in the index costs recall, never a wrong distance.

An index that faiss cannot build of the rows at hand (`IVF256` of 100 rows) gives way to
`Flat` for that segment, which `about` says; the next segment tries again. `Flat` is searched by
our own scan, which rounding never misleads: 100 queries for 100,000 rows of 128 take it 60 ms
(faiss 290 ms), a single one 5 ms (faiss 3 ms).

Saved: `index.faiss`, in faiss's own format; `index.json`, `{"index_type": as built}`; and the
vectors as `vectors.py` describes, unless the index holds them as they are (`Flat`,
`HNSW32`, `...,RFlat`). All are memory-mapped on load.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import faiss
from annotated_types import Ge

from euclidesdb_server.engines.faiss_index import (
    compares_all,
    enlarges,
    faiss_untyped,
    parts,
    refuse_empty_lists,
    rows_held,
    search_parameters,
    takes_parameters,
    threads_of_faiss,
)
from euclidesdb_server.engines.proposals import Demand, RankedProposals
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.engines.vectors import load_vectors, save_vectors
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

_log = logging.getLogger(__name__)

_FLAT = "Flat"

# From an index that keeps less than the rows, this many times what is wanted: the best are
# chosen by true distance. On 6,000 clustered rows of 32, the recall of the nearest ten rose so:
# PQ8x4 from 0.25 to 0.64, LSH from 0.29 to 0.65, SQ4 from 0.72 to 0.998.
_RERANK = 4

# Where no more rows are forbidden than this, a search takes what one of all rows does: a graph
# keeps the candidates it was configured to keep. 100 queries for 100 of 100,000 rows: 6 ms, and
# 12 ms with as many candidates as rows asked for, which finds more.
_MOSTLY_ALLOWED = 1.5

# What faiss says where an index could never take rows, however many. All else that training
# or adding may raise is for want of rows, or of variety in them.
_NEVER_ADDS = ("add does not make sense", "not implemented")

# What faiss puts before its reason: a C++ function, file and line, and a condition where words
# follow it. "'metric == METRIC_L2' failed" may be all there is.
_PLACE = re.compile(r"Error in .+? at \S+:\d+: (?:Error: (?:'.*' failed: (?=\S))?)?")


@dataclass(frozen=True, slots=True)
class FaissOptions:
    """Section `[faiss]` of the configuration; `metric` and `index_type` are EuclidesDB's."""

    metric: Literal["l2", "inner_product", "cosine"] = "l2"
    """How vectors are compared."""
    index_type: str = _FLAT
    """A string for faiss's index factory: `Flat`, `HNSW32`, `IVF256,PQ32`, ..."""
    nprobe: Annotated[int, Ge(0)] = 0
    """Inverted lists to look at in a search of an `IVF` index; 0: faiss's default (1)."""
    ef_search: Annotated[int, Ge(0)] = 0
    """Candidates to keep in a search of an `HNSW` index; 0: faiss's default (16)."""
    rerank: Annotated[int, Ge(0)] = 0
    """Ask the index for so many times the rows wanted, and choose by distance; 0: 4 times where
    the index keeps less than the rows, else once."""


class FaissSegment:
    """A faiss index, and the rows it was built from."""

    def __init__(
        self,
        index: faiss.Index,
        index_type: str,
        vectors: Matrix | None,
        metric: Metric,
        *,
        about: str,
        rerank: int,
    ) -> None:
        """`vectors` None: the index holds them (see `rows_held`). rerank 0: the default."""
        self.about = about
        self.exact = isinstance(index, faiss.IndexFlat)
        self._index = index
        self._index_type = index_type
        held = rows_held(index)
        self._holds_rows = held is not None
        rows = vectors if held is None else held
        if rows is None:
            raise ValueError(f"index {index_type!r} does not hold its rows: pass them")
        self._scan = MatrixScan(rows, metric)
        uncompressed = self._holds_rows and not isinstance(index, faiss.IndexRefine)
        self._rerank = rerank or (1 if uncompressed else _RERANK)
        self._selects = compares_all(index) and takes_parameters(
            index, faiss_untyped.IDSelectorAll()
        )
        self._widens = not self._selects and takes_parameters(index, None)

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; as near to exact as the index type is."""
        if self.exact:
            return self.search_exactly(queries, k, allowed)
        return RankedProposals(self, self._scan, self._rerank).search(queries, k, allowed)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self._scan.search(queries, k, allowed)

    def propose(self, queries: Matrix, demand: Demand) -> Rows:
        """What the index finds, -1 where it finds too few."""
        count = demand.count
        parameters = None
        if self._selects and demand.allowed is not None:
            if self._rerank > 1:
                # The allowed rows may all be far, and more alike than compression can tell.
                count = min(2 * count, len(self._scan.vectors))
            # Holds the bits by pointer: both must live until the search is done.
            selector = faiss_untyped.IDSelectorBitmap(demand.allowed.bits)
            parameters = search_parameters(self._index, selector=selector)
        elif demand.widening > 1:
            count = min(math.ceil(count * demand.widening), len(self._scan.vectors))
            if self._widens:
                candidates = 2 * count if demand.widening > _MOSTLY_ALLOWED else 1
                parameters = search_parameters(
                    self._index, widening=demand.widening, candidates=candidates
                )
        rows: Rows = self._index.search(queries, count, params=parameters)[1]
        return rows

    def save(self, folder: Path) -> None:
        """As `Segment.save`."""
        faiss.write_index(self._index, str(folder / "index.faiss"))
        about = json.dumps({"index_type": self._index_type})
        (folder / "index.json").write_text(about, "utf-8")
        if not self._holds_rows:
            save_vectors(folder, self._scan.vectors)


class FaissEngine:
    """`SearchEngine` by an index of faiss."""

    name = "faiss"
    Options = FaissOptions

    def __init__(self, options: FaissOptions | None = None) -> None:
        self._options = options or FaissOptions()

    @property
    def metric(self) -> Metric:
        """`[faiss] metric`."""
        return Metric(MetricKind(self._options.metric))

    @property
    def build_options(self) -> Mapping[str, Any]:
        """What shapes the index; the others only steer a search."""
        return {"metric": self._options.metric, "index_type": self._options.index_type}

    def build(self, vectors: Matrix, *, threads: int = 1) -> FaissSegment:
        """As `SearchEngine.build`.

        Raises ConfigError where `index_type` is none that faiss knows, cannot work with this
        dimension or metric, or takes no rows without ids.
        """
        index_type = self._options.index_type
        index = self._create(index_type, vectors.shape[1])
        if len(vectors) == 0:
            index_type, index = _FLAT, self._create(_FLAT, vectors.shape[1])
        try:
            refuse_empty_lists(index, len(vectors))
            with threads_of_faiss(threads):
                index.train(vectors)
                index.add(vectors)
        except RuntimeError as error:
            if any(message in str(error) for message in _NEVER_ADDS):
                raise self._config_error(_reason(error)) from error
            _log.info(
                "faiss cannot build %s of %d rows; this segment is %s: %s",
                index_type,
                len(vectors),
                _FLAT,
                _reason(error),
            )
            index_type, index = _FLAT, self._create(_FLAT, vectors.shape[1])
            index.add(vectors)
        return self._segment(index, index_type, vectors)

    def load(self, folder: Path) -> FaissSegment:
        """As `SearchEngine.load`; raises CorruptRecord where the files of vectors disagree."""
        path = str(folder / "index.faiss")
        try:
            index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError:  # a type of index that cannot be mapped
            index = faiss.read_index(path)
        index_type = json.loads((folder / "index.json").read_text("utf-8"))["index_type"]
        vectors = None if rows_held(index) is not None else load_vectors(folder)
        return self._segment(index, index_type, vectors)

    def _segment(self, index: faiss.Index, index_type: str, vectors: Matrix | None) -> FaissSegment:
        for part in parts(index):
            if isinstance(part, faiss.IndexIVF) and self._options.nprobe:
                part.nprobe = self._options.nprobe
            if isinstance(part, faiss.IndexHNSW) and self._options.ef_search:
                part.hnsw.efSearch = self._options.ef_search
        return FaissSegment(
            index,
            index_type,
            vectors,
            self.metric,
            about=self._about(index_type, index.ntotal),
            rerank=self._options.rerank,
        )

    def _about(self, index_type: str, rows: int) -> str:
        wanted = self._options.index_type
        if index_type == wanted:
            return wanted
        if rows == 0:
            return f"{index_type} (no rows yet)"
        return f"{index_type} ({rows} rows are too few for {wanted})"

    def _create(self, index_type: str, dim: int) -> faiss.Index:
        # Rows arrive at unit length under `cosine`, so their inner product is the similarity.
        l2 = self.metric.kind is MetricKind.L2
        metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
        try:
            index = faiss.index_factory(dim, index_type, metric)
        except RuntimeError as error:
            raise self._config_error(_reason(error), dim=dim) from error
        for part in parts(index):
            if isinstance(part, faiss.IndexPreTransform) and enlarges(part):
                raise self._config_error("PCA cannot add dimensions", dim=dim)
            if isinstance(part, faiss.IndexIDMap):
                raise self._config_error("rows need no ids of their own: leave IDMap out")
            if isinstance(part, faiss.IndexLattice):
                raise self._config_error("faiss saves no lattice that it can read again")
            # Else faiss warns on standard error, line by line, of fewer than 39 rows a centroid.
            trained: Any
            for trained in (part, getattr(part, "pq", None), getattr(part, "refine_pq", None)):
                if hasattr(trained, "cp"):
                    trained.cp.min_points_per_centroid = 1
            # Reorders the codes for searches that we never ask for, by simulated annealing:
            # 25 of the 26 seconds that training PQ8 takes.
            if hasattr(part, "do_polysemous_training"):
                part.do_polysemous_training = False
        return index

    def _config_error(self, why: str, *, dim: int | None = None) -> ConfigError:
        where = "" if dim is None else f" for vectors of {dim} under {self._options.metric}"
        return ConfigError(
            f"[faiss] index_type = {self._options.index_type!r} cannot be used{where}: {why}"
        )


def _reason(error: RuntimeError) -> str:
    """Why faiss failed, without where in its code it did."""
    return _PLACE.sub("", str(error), count=1).strip()
