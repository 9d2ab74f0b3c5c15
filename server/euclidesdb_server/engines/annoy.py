"""The annoy engine: a forest of random projection trees, memory-mapped from disk.

annoy generates candidates, and `distances` ranks them. So annoy's `angular` distance,
sqrt(2 (1 - cos)), is never returned, and `cosine` means the same as in every engine. The same rows
give the same trees if a single thread builds them.

Saved files: `trees.annoy`, in annoy's own format, and the vectors as described in `vectors.py`
(annoy has a copy of them in the tree file, but it cannot be read in bulk).

The inner product is not offered, because annoy's `dot` forest finds too little: 64 trees over
4,000 rows of varied length found 78 % of the nearest ten (annoy 1.17.3); the other two metrics
found all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from annoy import AnnoyIndex

from euclidesdb_server.engines.reranking import CandidateRequest, RerankedSearch
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.engines.vectors import keep_vectors, load_vectors
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

_FOREST_FILE = "trees.annoy"
_SEED = 20180901
_ROWS_AT_A_TIME = 1024

# The costs of a search and of each node that it inspects, in rows of a scan. 50,000 rows of 32, 20
# trees, one query: 31 us for 40 nodes, 2.9 ms for 20,000.
_SEARCH_COST = 3000
_CANDIDATE_COST = 6
_ANNOY_METRIC: dict[str, Literal["angular", "euclidean"]] = {
    "cosine": "angular",
    "l2": "euclidean",
}


@dataclass(frozen=True, slots=True)
class AnnoyOptions:
    """Section `[annoy]` of the configuration; `tree_factor` comes from EuclidesDB (C++)."""

    tree_factor: Annotated[int, Ge(1)] = 2
    """Trees per dimension of the vectors: more trees find more, and take more memory and time."""
    trees: Annotated[int, Ge(0)] = 0
    """The number of trees; 0: `tree_factor` times the dimension."""
    search_k: Annotated[int, Ge(0)] = 0
    """Tree nodes to inspect in a search; 0: annoy's default, the number of candidates times the
    number of trees."""
    rerank: Annotated[int, Ge(0)] = 0
    """Candidates to re-rank by distance, as a multiple of the results; 0: as many as results."""
    metric: Literal["cosine", "l2"] = "cosine"
    """How vectors are compared."""


class AnnoySegment:
    """A forest, and the rows that it was built from."""

    exact = False

    def __init__(
        self,
        forest: AnnoyIndex,
        vectors: Matrix,
        metric: Metric,
        options: AnnoyOptions,
        *,
        grown_in: Path | None = None,
    ) -> None:
        """grown_in: the folder that holds the file of the forest already."""
        self._forest = forest
        self._grown_in = grown_in
        self._scan = MatrixScan(vectors, metric)
        self._search_k = options.search_k
        self._rerank = options.rerank or 1

    @property
    def vectors(self) -> Matrix:
        """As `Segment.vectors`."""
        return self._scan.vectors

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; approximate. annoy cannot take a mask, so it over-fetches."""
        return RerankedSearch(self, self._scan, self._rerank).search(queries, k, allowed)

    def single_candidates(self, query: Matrix, k: int, allowed: RowMask | None) -> Rows | None:
        """As `protocol.single_candidates`."""
        return RerankedSearch(self, self._scan, self._rerank).single_candidates(query, k, allowed)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self._scan.search(queries, k, allowed)

    @property
    def description(self) -> str:
        """The number of trees."""
        trees = self._forest.get_n_trees()
        return "1 tree" if trees == 1 else f"{trees} trees"

    def rows_compared(self, k: int) -> int:
        """As `protocol.rows_compared`."""
        inspected = self._search_k or k * self._rerank * self._forest.get_n_trees()
        return _SEARCH_COST + _CANDIDATE_COST * inspected

    def find_candidates(self, queries: Matrix, request: CandidateRequest) -> Rows:
        """As `CandidateSource.find_candidates`."""
        count = min(math.ceil(request.count * request.overfetch), len(self._scan.vectors))
        search_k = math.ceil(self._search_k * request.overfetch) or -1
        rows = np.full((len(queries), count), -1, np.int64)
        for position, query in enumerate(queries):
            found = self._forest.get_nns_by_vector(query.tolist(), count, search_k)
            rows[position, : len(found)] = found
        return rows

    def save(self, folder: Path) -> None:
        """As `Segment.save`; from then on the forest is memory-mapped from the file."""
        keep_vectors(folder, self._scan.vectors)
        if folder != self._grown_in:
            self._forest.save(str(folder / _FOREST_FILE))


class AnnoyEngine:
    """A `SearchEngine` with a forest of random projection trees."""

    name: ClassVar[str] = "annoy"
    Options = AnnoyOptions

    def __init__(self, options: AnnoyOptions | None = None) -> None:
        self.options = options or AnnoyOptions()

    @property
    def metric(self) -> Metric:
        """`[annoy] metric`."""
        return Metric(MetricKind(self.options.metric))

    @property
    def build_options(self) -> Mapping[str, Any]:
        """What determines the trees."""
        options = self.options
        return {
            "metric": options.metric,
            "tree_factor": options.tree_factor,
            "trees": options.trees,
        }

    def build(
        self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None
    ) -> AnnoySegment:
        """As `SearchEngine.build`. Only a single thread builds the same trees each time.

        In a folder the forest grows in its file, which holds several times the bytes of the rows.
        """
        dim = vectors.shape[1]
        forest = self._forest(dim)
        forest.set_seed(_SEED)
        if folder is not None:
            forest.on_disk_build(str(folder / _FOREST_FILE))
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            block = vectors[start : start + _ROWS_AT_A_TIME].tolist()
            for row, values in enumerate(block, start):
                forest.add_item(row, values)
        forest.build(self.options.trees or self.options.tree_factor * dim, n_jobs=threads)
        return self._segment(forest, vectors, folder)

    def load(self, folder: Path) -> AnnoySegment:
        """As `SearchEngine.load`; raises CorruptRecord if the files of vectors disagree."""
        vectors = load_vectors(folder)
        forest = self._forest(vectors.shape[1])
        forest.load(str(folder / _FOREST_FILE))
        return self._segment(forest, vectors)

    def _forest(self, dim: int) -> AnnoyIndex:
        return AnnoyIndex(dim, _ANNOY_METRIC[self.options.metric])

    def _segment(
        self, forest: AnnoyIndex, vectors: Matrix, grown_in: Path | None = None
    ) -> AnnoySegment:
        return AnnoySegment(forest, vectors, self.metric, self.options, grown_in=grown_in)
