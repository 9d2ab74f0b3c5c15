"""The annoy engine: a forest of random projection trees, memory-mapped from disk.

annoy proposes rows, `distances` measures them: so its `angular` distance, sqrt(2 (1 - cos)),
never shows, and `cosine` is what it is in every engine. The same rows
give the same trees where one thread grows them.

Saved: `trees.annoy`, in annoy's own format, and the vectors as `vectors.py` describes (annoy
keeps its copy inside the tree file, where it cannot be read in bulk).

There is no inner product: annoy's `dot` forest is not up to it. 64 trees over 4,000 rows of
varied length found 78 % of the nearest ten (annoy 1.17.3), where the other two found all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from annoy import AnnoyIndex

from euclidesdb_server.engines.proposals import Demand, RankedProposals
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.engines.vectors import load_vectors, save_vectors
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

_FOREST_FILE = "trees.annoy"
_SEED = 20180901
_ROWS_AT_A_TIME = 1024
_ANNOY_METRIC: dict[str, Literal["angular", "euclidean"]] = {
    "cosine": "angular",
    "l2": "euclidean",
}


@dataclass(frozen=True, slots=True)
class AnnoyOptions:
    """Section `[annoy]` of the configuration; `tree_factor` is EuclidesDB's."""

    tree_factor: Annotated[int, Ge(1)] = 2
    """Trees per dimension of the vectors: more find more, and take more memory and time."""
    trees: Annotated[int, Ge(0)] = 0
    """The number of trees; 0: `tree_factor` times the dimension."""
    search_k: Annotated[int, Ge(0)] = 0
    """Tree nodes to look at in a search; 0: annoy's default, the number of rows asked for
    times the number of trees."""
    rerank: Annotated[int, Ge(0)] = 0
    """Ask the trees for so many times the rows wanted, and choose by distance; 0: once."""
    metric: Literal["cosine", "l2"] = "cosine"
    """How vectors are compared."""


class AnnoySegment:
    """A forest, and the rows it was grown from."""

    exact = False

    def __init__(
        self, forest: AnnoyIndex, vectors: Matrix, metric: Metric, options: AnnoyOptions
    ) -> None:
        self._forest = forest
        self._scan = MatrixScan(vectors, metric)
        self._search_k = options.search_k
        self._rerank = options.rerank or 1

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; approximate. annoy takes no mask: it is asked for more instead."""
        return RankedProposals(self, self._scan, self._rerank).search(queries, k, allowed)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self._scan.search(queries, k, allowed)

    @property
    def about(self) -> str:
        """The number of trees."""
        trees = self._forest.get_n_trees()
        return "1 tree" if trees == 1 else f"{trees} trees"

    def propose(self, queries: Matrix, demand: Demand) -> Rows:
        """The rows annoy finds."""
        count = min(math.ceil(demand.count * demand.widening), len(self._scan.vectors))
        search_k = math.ceil(self._search_k * demand.widening) or -1
        rows = np.full((len(queries), count), -1, np.int64)
        for position, query in enumerate(queries):
            found = self._forest.get_nns_by_vector(query.tolist(), count, search_k)
            rows[position, : len(found)] = found
        return rows

    def save(self, folder: Path) -> None:
        """As `Segment.save`; from then on the forest is the file, mapped."""
        save_vectors(folder, self._scan.vectors)
        self._forest.save(str(folder / _FOREST_FILE))


class AnnoyEngine:
    """`SearchEngine` by a forest of random projection trees."""

    name = "annoy"
    Options = AnnoyOptions

    def __init__(self, options: AnnoyOptions | None = None) -> None:
        self._options = options or AnnoyOptions()

    @property
    def metric(self) -> Metric:
        """`[annoy] metric`."""
        return Metric(MetricKind(self._options.metric))

    @property
    def build_options(self) -> Mapping[str, Any]:
        """What grows the trees."""
        options = self._options
        return {
            "metric": options.metric,
            "tree_factor": options.tree_factor,
            "trees": options.trees,
        }

    def build(self, vectors: Matrix, *, threads: int = 1) -> AnnoySegment:
        """As `SearchEngine.build`. Only one thread grows the same trees each time."""
        dim = vectors.shape[1]
        forest = self._forest(dim)
        forest.set_seed(_SEED)
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            block = vectors[start : start + _ROWS_AT_A_TIME].tolist()
            for row, values in enumerate(block, start):
                forest.add_item(row, values)
        forest.build(self._options.trees or self._options.tree_factor * dim, n_jobs=threads)
        return self._segment(forest, vectors)

    def load(self, folder: Path) -> AnnoySegment:
        """As `SearchEngine.load`; raises CorruptRecord where the files of vectors disagree."""
        vectors = load_vectors(folder)
        forest = self._forest(vectors.shape[1])
        forest.load(str(folder / _FOREST_FILE))
        return self._segment(forest, vectors)

    def _forest(self, dim: int) -> AnnoyIndex:
        return AnnoyIndex(dim, _ANNOY_METRIC[self._options.metric])

    def _segment(self, forest: AnnoyIndex, vectors: Matrix) -> AnnoySegment:
        return AnnoySegment(forest, vectors, self.metric, self._options)
