"""The engines under the contract, and the data they are held to it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.engines import SearchEngine, Segment
from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.exact_disk import ExactDiskEngine, ExactDiskOptions
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.metric import Metric

ROWS, DIM = 3000, 24


@dataclass(frozen=True)
class Case:
    """An engine as configured, and the least recall@10 it owes on the clustered data."""

    engine: SearchEngine
    recall: float = 1.0

    @property
    def exact(self) -> bool:
        return self.recall == 1.0


def _faiss(index_type: str, recall: float, **options: Any) -> Case:
    return Case(FaissEngine(FaissOptions(index_type=index_type, **options)), recall)


CASES = {
    "exact-l2": Case(ExactEngine()),
    "exact-cosine": Case(ExactEngine(ExactOptions(metric="cosine"))),
    "exact-inner_product": Case(ExactEngine(ExactOptions(metric="inner_product"))),
    "exact_disk-l2": Case(ExactDiskEngine()),
    "exact_disk-normalized": Case(ExactDiskEngine(ExactDiskOptions(normalize=True))),
    "exact_disk-l1": Case(ExactDiskEngine(ExactDiskOptions(pnorm=1))),
    "exact_disk-l3": Case(ExactDiskEngine(ExactDiskOptions(pnorm=3))),
    "exact_disk-linf": Case(ExactDiskEngine(ExactDiskOptions(pnorm=np.inf))),
    "annoy-cosine": Case(AnnoyEngine(), 0.98),
    "annoy-l2": Case(AnnoyEngine(AnnoyOptions(metric="l2")), 0.98),
    "annoy-few-trees": Case(AnnoyEngine(AnnoyOptions(trees=4, search_k=200)), 0.8),
    "faiss-Flat-l2": _faiss("Flat", 1.0),
    "faiss-Flat-cosine": _faiss("Flat", 1.0, metric="cosine"),
    "faiss-Flat-inner_product": _faiss("Flat", 1.0, metric="inner_product"),
    "faiss-HNSW32-l2": _faiss("HNSW32", 0.98),
    "faiss-HNSW32-cosine": _faiss("HNSW32", 0.98, metric="cosine", ef_search=64),
    "faiss-HNSW32-inner_product": _faiss("HNSW32", 0.8, metric="inner_product"),
    "faiss-HNSW16_SQ8": _faiss("HNSW16_SQ8", 0.95),
    "faiss-IVF16,Flat-l2": _faiss("IVF16,Flat", 0.95),
    "faiss-IVF16,Flat-cosine": _faiss("IVF16,Flat", 0.98, metric="cosine", nprobe=8),
    "faiss-PCA16,IVF16,PQ8": _faiss("PCA16,IVF16,PQ8x4", 0.6),
    "faiss-PQ8": _faiss("PQ8", 0.9),
    "faiss-SQ8": _faiss("SQ8", 0.99),
    "faiss-LSH": _faiss("LSH", 0.4),
    "faiss-FastScan": _faiss("PQ8x4fs", 0.6),
    "faiss-IVF-FastScan": _faiss("IVF16,PQ8x4fs", 0.6, metric="inner_product"),
    "faiss-Refine": _faiss("IVF16,PQ8x4,RFlat", 0.6),
}


def clustered(rows: int, metric: Metric) -> Matrix:
    """`rows` vectors in 30 clusters, every tenth a copy of its predecessor."""
    random = np.random.default_rng(7)
    centers = random.standard_normal((30, DIM)) * 3
    members = centers[random.integers(0, 30, rows)] + random.standard_normal((rows, DIM))
    members[10::10] = members[9 : rows - 1 : 10]
    return prepared(members, metric)


def near(vectors: Matrix, metric: Metric, count: int = 30) -> Matrix:
    """Queries close to rows spread over the matrix."""
    random = np.random.default_rng(8)
    noise = random.standard_normal((count, DIM)) * 0.3 * np.abs(vectors).mean()
    return prepared(vectors[:: len(vectors) // count][:count] + noise, metric)


def prepared(vectors: Any, metric: Metric) -> Matrix:
    """Vectors as an engine of that metric takes them."""
    matrix = np.ascontiguousarray(vectors, np.float32)
    return normalized(matrix) if metric.normalizes else matrix


def saved_and_loaded(engine: SearchEngine, vectors: Matrix, folder: Path) -> Segment:
    engine.build(vectors).save(folder)
    return engine.load(folder)
