"""What a faiss index consists of, where its rows lie, and which search parameters it takes.

This is knowledge about faiss's classes that they do not offer themselves. It knows nothing of
segments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from euclidesdb_server.values.arrays import Matrix, Rows

# The type information of faiss 1.15 lacks the arguments that its wrappers take.
faiss_untyped: Any = faiss
_pointer: Final = faiss_untyped.swig_ptr


# What precedes the reason in faiss's messages: a C++ function, file and line, and the condition
# that failed if text follows it. "'metric == METRIC_L2' failed" may be all there is.
_LOCATION = re.compile(r"Error in .+? at \S+:\d+: (?:Error: (?:'.*' failed: (?=\S))?)?")

GRAPH_CANDIDATE_COST: Final = 200
"""A candidate of a graph costs as much as comparing so many rows in a scan: it has dozens of links,
to rows anywhere in memory. 50,000 rows of 32, HNSW32: 34 us a query with 16 candidates."""
LIST_ROW_COST: Final = 2
"""A row of an inverted list costs as much as comparing so many in a scan, which compares a block of
rows with many queries at once. 50,000 rows of 32, 64 of 256 lists: 113 us a query."""


def reason_of(error: RuntimeError) -> str:
    """The reason in faiss's message, without the location in its code."""
    return _LOCATION.sub("", str(error), count=1).strip()


@contextmanager
def limit_faiss_threads(count: int) -> Iterator[None]:
    """Make faiss use `count` threads in calls from this thread. Other threads are unaffected."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def check_rows_fill_lists(index: faiss.Index, rows: int) -> None:
    """Raise RuntimeError if there are fewer rows than inverted lists.

    faiss does so for most indexes, but not for an inverted multi-index (`IMI2x8`).
    """
    for part in parts(index):
        if isinstance(part, faiss.IndexIVF) and 0 < rows < part.nlist:
            raise RuntimeError(f"{rows} rows are fewer than the {part.nlist} inverted lists")


def parts(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and the indexes that it wraps, outermost first."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexPreTransform):
        yield from parts(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from parts(index.base_index)
    elif isinstance(index, faiss.IndexHNSW):
        yield from parts(index.storage)


def adds_dimensions(index: Any) -> bool:
    """Whether an IndexPreTransform has a PCA with more dimensions of output than of input."""
    chain = index.chain
    steps = [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]
    return any(isinstance(step, faiss.PCAMatrix) and step.d_out > step.d_in for step in steps)


def can_refer_to_rows(index: faiss.Index) -> bool:
    """Whether the index needs its rows as they are, one after the other (`Flat`, `HNSW32`).

    Then they can be those of a file. (`IVF16,Flat` has them in its lists.)
    """
    return _flat_part(index) is not None


def refer_to_rows(index: faiss.Index, rows: Matrix) -> None:
    """Make an index refer to `rows` instead of a copy of them, if it can.

    rows: float32, shape (n, index.d), C-contiguous; they must exist as long as the index.
    """
    flat = _flat_part(index)
    if flat is not None and len(rows):
        no_owner = faiss_untyped.MaybeOwnedVectorUInt8().owner
        flat.codes = faiss_untyped.MaybeOwnedVectorUInt8.create_view(
            faiss_untyped.swig_ptr(rows), rows.nbytes, no_owner
        )
        flat.ntotal = len(rows)


def write_without_rows(index: faiss.Index, path: Path) -> None:
    """Save an index without the rows that it can refer to.

    Call `refer_to_rows` before it is searched again. `read_without_rows` reads it.
    """
    flat = _flat_part(index)
    graph = isinstance(faiss.downcast_index(index), faiss.IndexHNSW)
    if flat is not None and not graph:
        flat.codes = faiss_untyped.MaybeOwnedVectorUInt8()
        flat.ntotal = 0
    skips = flat is not None and graph
    faiss_untyped.write_index(index, str(path), faiss.IO_FLAG_SKIP_STORAGE if skips else 0)


def read_without_rows(path: Path) -> faiss.Index:
    """Read an index that `write_without_rows` saved; memory-mapped if faiss can."""
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:  # it cannot be memory-mapped
        index = faiss.read_index(str(path))
    graph = faiss.downcast_index(index)
    if isinstance(graph, faiss.IndexHNSW) and graph.storage is None:
        storage: Any = faiss.IndexFlat(index.d, index.metric_type)
        storage.this.disown()
        graph.storage = storage
        graph.own_fields = True  # the graph deletes it
    return index


def _flat_part(index: faiss.Index) -> Any:
    """The part that can refer to rows; None if there is none."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    elif isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.refine_index)
    return index if isinstance(index, faiss.IndexFlat) else None


def compares_all(index: faiss.Index) -> bool:
    """Whether a search compares the query with every row, even if in compressed form."""
    *_, innermost = parts(index)
    return isinstance(innermost, faiss.IndexFlatCodes) and not any(
        isinstance(part, faiss.IndexHNSW | faiss.IndexIVF) for part in parts(index)
    )


def rows_compared(index: faiss.Index, candidates: int) -> int:
    """About what a search for so many candidates costs, in rows of a scan."""
    rows = index.ntotal
    for part in parts(index):
        if isinstance(part, faiss.IndexIVF):
            probed = min(part.nprobe, part.nlist)
            return part.nlist + LIST_ROW_COST * rows * probed // part.nlist
        if isinstance(part, faiss.IndexHNSW):
            kept = max(part.hnsw.efSearch, candidates)
            return GRAPH_CANDIDATE_COST * min(kept, rows)
    return rows


class RowSearch:
    """Finds what `index.search` finds, without its distances and its wrapper's 5 us a call.

    Called from many threads at once.
    """

    def __init__(self, index: Any) -> None:
        self._search = index.search_c
        self._dim = index.d

    def __call__(self, queries: Matrix, count: int, parameters: Any = None) -> Rows:
        """The rows nearest to each query, shape (n, count); -1 is padding."""
        queries = np.ascontiguousarray(queries, np.float32)
        size, dim = queries.shape
        if dim != self._dim:  # faiss would read past their end
            raise ValueError(f"queries of shape {queries.shape} for an index of {self._dim}")
        rows = np.empty((size, count), np.int64)
        distances = np.empty((size, count), np.float32)
        self._search(
            size, _pointer(queries), count, _pointer(distances), _pointer(rows), parameters
        )
        return rows


def takes_parameters(index: faiss.Index, selector: Any) -> bool:
    """Whether a search of the index takes parameters. Only trying it shows."""
    if index.ntotal == 0:
        return False
    try:
        parameters = search_parameters(index, selector=selector)
        index.search(np.zeros((1, index.d), np.float32), 1, params=parameters)
    except RuntimeError:
        return False
    return True


def search_parameters(
    index: faiss.Index, *, selector: Any = None, overfetch: float = 1, candidates: int = 1
) -> Any:
    """The parameters of a search of `index`.

    selector: of the rows to search; None: all. overfetch: how many times more widely than
    configured to search. candidates: the least number that a graph keeps; the last ones that it
    finds are often not the nearest.
    """
    index = faiss.downcast_index(index)
    arguments = {"selector": selector, "overfetch": overfetch, "candidates": candidates}
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(index.index, **arguments)
        return faiss_untyped.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(index.base_index, **arguments)
        return faiss_untyped.IndexRefineSearchParameters(
            k_factor=index.k_factor, base_index_params=inner
        )
    if isinstance(index, faiss.IndexIVF):
        nprobe = min(index.nlist, math.ceil(index.nprobe * overfetch))
        if isinstance(index, faiss.IndexIVFPQ):
            return faiss_untyped.IVFPQSearchParameters(sel=selector, nprobe=nprobe)
        return faiss_untyped.SearchParametersIVF(sel=selector, nprobe=nprobe)
    if isinstance(index, faiss.IndexHNSW):
        ef_search = max(math.ceil(index.hnsw.efSearch * overfetch), candidates)
        return faiss_untyped.SearchParametersHNSW(
            sel=selector, efSearch=min(index.ntotal, ef_search)
        )
    return faiss_untyped.SearchParameters(sel=selector)
