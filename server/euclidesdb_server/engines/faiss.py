"""The faiss engine: any index of faiss's index factory.

faiss generates candidates, and `distances` ranks them. So all distances are those of the configured
metric, and a loss of precision in the index costs recall, but never gives a wrong distance.

If faiss cannot build the index from the rows that there are (`IVF256` from 100 rows), the segment
is `Flat` instead, and its `description` shows that; the next segment tries again. `Flat` is
searched by `scan.py`, exactly: 100 queries over 100,000 rows of 128 take 60 ms (faiss 290 ms).

Saved files: the vectors as described in `vectors.py`; `index.faiss`, as faiss saves it, but without
a copy of the vectors (`Flat`, `HNSW32`, `...,RFlat`); and `index.json`, `{"index_type": as built}`.
All are memory-mapped on load, and the index refers to the mapped vectors.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import faiss
from annotated_types import Ge

from euclidesdb_server.engines.faiss_build import (
    fill,
    hurry_training,
    never_takes_rows,
    prepare_training,
    shows_too_few_rows,
    smaller,
)
from euclidesdb_server.engines.faiss_index import (
    RowSearch,
    adds_dimensions,
    can_refer_to_rows,
    check_rows_fill_lists,
    compares_all,
    faiss_untyped,
    limit_faiss_threads,
    parts,
    read_without_rows,
    reason_of,
    refer_to_rows,
    rows_compared,
    search_parameters,
    takes_parameters,
    write_without_rows,
)
from euclidesdb_server.engines.reranking import CandidateRequest, RerankedSearch
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.engines.seeded_graph import seeded_graph
from euclidesdb_server.engines.vectors import keep_vectors, load_vectors
from euclidesdb_server.errors import ConfigError, CorruptRecord
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

_log = logging.getLogger(__name__)

_FLAT = "Flat"

# For an index that compresses rows, the default number of candidates to re-rank, as a multiple of
# k. On 6,000 clustered rows of 32, it raised the recall of the nearest ten by 0.3 to 0.4.
_RERANK_COMPRESSED = 4

# Up to this over-fetch factor most rows are allowed, and a graph keeps only as many candidates as
# configured, so that a search costs as much as one of all rows.
_MAX_OVERFETCH_WITHOUT_CANDIDATES = 1.5


@dataclass(frozen=True, slots=True)
class FaissOptions:
    """Section `[faiss]` of the configuration; `metric`, `index_type` come from EuclidesDB (C++)."""

    metric: Literal["l2", "inner_product", "cosine"] = "l2"
    """How vectors are compared."""
    index_type: str = _FLAT
    """A string for faiss's index factory: `Flat`, `HNSW32`, `IVF256,PQ32`, ..."""
    nprobe: Annotated[int, Ge(0)] = 0
    """Inverted lists to search in an `IVF` index; 0: faiss's default (1)."""
    ef_search: Annotated[int, Ge(0)] = 0
    """Candidates to keep in a search of an `HNSW` index; 0: faiss's default (16)."""
    rerank: Annotated[int, Ge(0)] = 0
    """Candidates to re-rank by distance, as a multiple of the results; 0: 4 if the index compresses
    the rows, otherwise 1."""


class FaissSegment:
    """A faiss index, and the rows that it was built from."""

    def __init__(
        self,
        index: faiss.Index,
        index_type: str,
        vectors: Matrix,
        metric: Metric,
        *,
        description: str,
        rerank: int,
    ) -> None:
        """rerank: 0 for the default."""
        self.description = description
        self.exact = isinstance(index, faiss.IndexFlat)
        self._index = index
        self._index_type = index_type
        self._scan = MatrixScan(vectors, metric)
        refer_to_rows(index, vectors)
        uncompressed = can_refer_to_rows(index) and not isinstance(index, faiss.IndexRefine)
        self._rerank = rerank or (1 if uncompressed else _RERANK_COMPRESSED)
        self._takes_mask = compares_all(index) and takes_parameters(
            index, faiss_untyped.IDSelectorAll()
        )
        self._find_rows = RowSearch(index)
        self._takes_parameters = not self._takes_mask and takes_parameters(index, None)
        self._seeded = seeded_graph(index, self._scan)

    @property
    def vectors(self) -> Matrix:
        """As `Segment.vectors`."""
        return self._scan.vectors

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; exact or approximate depending on the index type."""
        if self.exact:
            return self.search_exactly(queries, k, allowed)
        return RerankedSearch(self, self._scan, self._rerank).search(queries, k, allowed)

    def single_candidates(self, query: Matrix, k: int, allowed: RowMask | None) -> Rows | None:
        """As `protocol.single_candidates`."""
        reranked = RerankedSearch(self, self._scan, self._rerank)
        return None if self.exact else reranked.single_candidates(query, k, allowed)

    def search_filtered(
        self, queries: Matrix, k: int, allowed: RowMask, effort: float
    ) -> tuple[Distances, Rows] | None:
        """As `protocol.search_filtered`."""
        return None if self._seeded is None else self._seeded.search(queries, k, allowed, effort)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self._scan.search(queries, k, allowed)

    def rows_compared(self, k: int) -> int:
        """As `protocol.rows_compared`."""
        return rows_compared(self._index, k * self._rerank)

    def find_candidates(self, queries: Matrix, request: CandidateRequest) -> Rows:
        """As `CandidateSource.find_candidates`."""
        count = request.count
        parameters = None
        if self._takes_mask and request.allowed is not None:
            if self._rerank > 1:
                # the allowed rows may all be far away, and compressed too similar to tell apart
                count = min(2 * count, len(self._scan.vectors))
            # it refers to the bits by pointer: both must exist until the search is done
            selector = faiss_untyped.IDSelectorBitmap(request.allowed.bits)
            parameters = search_parameters(self._index, selector=selector)
        elif request.overfetch > 1:
            count = min(math.ceil(count * request.overfetch), len(self._scan.vectors))
            if self._takes_parameters:
                candidates = (
                    2 * count if request.overfetch > _MAX_OVERFETCH_WITHOUT_CANDIDATES else 1
                )
                parameters = search_parameters(
                    self._index, overfetch=request.overfetch, candidates=candidates
                )
        return self._find_rows(queries, count, parameters)

    def save(self, folder: Path) -> None:
        """As `Segment.save`."""
        write_without_rows(self._index, folder / "index.faiss")
        refer_to_rows(self._index, self.vectors)
        built = json.dumps({"index_type": self._index_type})
        (folder / "index.json").write_text(built, "utf-8")
        keep_vectors(folder, self.vectors)


class FaissEngine:
    """A `SearchEngine` with any index of faiss's index factory."""

    name: ClassVar[str] = "faiss"
    Options = FaissOptions

    def __init__(self, options: FaissOptions | None = None, *, trial: bool = False) -> None:
        """trial: as `Scalable.for_trial` describes."""
        self.options = options or FaissOptions()
        self._trial = trial

    def for_trial(self) -> FaissEngine:
        """As `Scalable.for_trial`: fewer inverted lists and bits, and few iterations."""
        return FaissEngine(self.options, trial=True)

    @property
    def metric(self) -> Metric:
        """`[faiss] metric`."""
        return Metric(MetricKind(self.options.metric))

    @property
    def build_options(self) -> Mapping[str, Any]:
        """The options that determine the index; the others only affect searches."""
        return {"metric": self.options.metric, "index_type": self.options.index_type}

    def build(
        self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None
    ) -> FaissSegment:
        """As `SearchEngine.build`.

        Raises ConfigError if `index_type` is unknown to faiss, cannot work with this dimension or
        metric, or needs ids for its rows; RuntimeError if faiss fails on these rows.
        """
        index_type, dim = self.options.index_type, vectors.shape[1]
        index = self._create(smaller(index_type) if self._trial else index_type, dim)
        if len(vectors) == 0:
            index_type, index = _FLAT, self._create(_FLAT, dim)
        try:
            check_rows_fill_lists(index, len(vectors))
            with limit_faiss_threads(threads):
                fill(index, vectors, folder)
        except RuntimeError as error:
            if self._trial or never_takes_rows(error):
                raise self._config_error(reason_of(error), dim=dim) from error
            if not shows_too_few_rows(error):
                raise RuntimeError(
                    f"faiss cannot build {index_type}: {reason_of(error)}"
                ) from error
            _log.info(
                "faiss cannot build %s of %d rows; this segment is %s: %s",
                index_type,
                len(vectors),
                _FLAT,
                reason_of(error),
            )
            index_type, index = _FLAT, self._create(_FLAT, dim)
            index.add(vectors)
        return self._segment(index, index_type, vectors)

    def load(self, folder: Path) -> FaissSegment:
        """As `SearchEngine.load`; raises CorruptRecord if the files of vectors disagree."""
        index, vectors = read_without_rows(folder / "index.faiss"), load_vectors(folder)
        rows = len(vectors) if isinstance(index, faiss.IndexFlat) else index.ntotal
        if (rows, index.d) != vectors.shape:  # faiss would read past their end
            raise CorruptRecord(
                f"{folder}: an index of {rows} rows of {index.d}, vectors of shape {vectors.shape}"
            )
        index_type = json.loads((folder / "index.json").read_text("utf-8"))["index_type"]
        return self._segment(index, index_type, vectors)

    def _segment(self, index: faiss.Index, index_type: str, vectors: Matrix) -> FaissSegment:
        for part in parts(index):
            if isinstance(part, faiss.IndexIVF) and self.options.nprobe:
                part.nprobe = self.options.nprobe
            if isinstance(part, faiss.IndexHNSW) and self.options.ef_search:
                part.hnsw.efSearch = self.options.ef_search
        return FaissSegment(
            index,
            index_type,
            vectors,
            self.metric,
            description=self._description(index_type, len(vectors)),
            rerank=self.options.rerank,
        )

    def _description(self, index_type: str, rows: int) -> str:
        configured = self.options.index_type
        if index_type == configured:
            return configured
        if rows == 0:
            return f"{index_type} (no rows yet)"
        return f"{index_type} ({rows} rows are too few for {configured})"

    def _create(self, index_type: str, dim: int) -> faiss.Index:
        # under `cosine` rows are of unit length, so their inner product is the similarity
        is_l2 = self.metric.kind is MetricKind.L2
        metric = faiss.METRIC_L2 if is_l2 else faiss.METRIC_INNER_PRODUCT
        try:
            index = faiss.index_factory(dim, index_type, metric)
        except RuntimeError as error:
            raise self._config_error(reason_of(error), dim=dim) from error
        for part in parts(index):
            if isinstance(part, faiss.IndexPreTransform) and adds_dimensions(part):
                raise self._config_error("PCA cannot add dimensions", dim=dim)
            if isinstance(part, faiss.IndexIDMap):
                raise self._config_error("IDMap is not supported: remove it")
            if isinstance(part, faiss.IndexLattice):
                raise self._config_error("faiss cannot read a saved lattice index")
        prepare_training(index)
        if self._trial:
            hurry_training(index)
        return index

    def _config_error(self, reason: str, *, dim: int | None = None) -> ConfigError:
        case = "" if dim is None else f" for vectors of {dim} under {self.options.metric}"
        index_type = self.options.index_type
        return ConfigError(f"[faiss] index_type = {index_type!r} cannot be used{case}: {reason}")
