"""What an index of faiss is made of, holds and takes: what its classes do not say themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from euclidesdb_server.values.arrays import Matrix

# The type information in faiss 1.15 lacks the arguments that its wrappers take.
faiss_untyped: Any = faiss


@contextmanager
def threads_of_faiss(count: int) -> Iterator[None]:
    """Lets faiss use so many threads in calls from this thread; those from others use theirs."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def refuse_empty_lists(index: faiss.Index, rows: int) -> None:
    """Raises as faiss does for most, but not for an inverted multi-index (`IMI2x8`)."""
    for part in parts(index):
        if isinstance(part, faiss.IndexIVF) and 0 < rows < part.nlist:
            raise RuntimeError(f"{rows} rows are fewer than the {part.nlist} inverted lists")


def parts(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index and those it wraps, outermost first."""
    index = faiss.downcast_index(index)
    yield index
    if isinstance(index, faiss.IndexPreTransform):
        yield from parts(index.index)
    elif isinstance(index, faiss.IndexRefine):
        yield from parts(index.base_index)
    elif isinstance(index, faiss.IndexHNSW):
        yield from parts(index.storage)


def enlarges(index: Any) -> bool:
    """Whether a PCA is to have more dimensions than it is given."""
    chain = index.chain
    steps = [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]
    return any(isinstance(step, faiss.PCAMatrix) and step.d_out > step.d_in for step in steps)


def rows_held(index: faiss.Index) -> Matrix | None:
    """A view of the rows where the index holds them as they were given; alive while it is."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    elif isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.refine_index)
    if not isinstance(index, faiss.IndexFlat):
        return None
    if index.ntotal == 0:
        return np.empty((0, index.d), np.float32)
    rows = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    rows.flags.writeable = False
    view: Matrix = rows.reshape(index.ntotal, index.d)
    return view


def compares_all(index: faiss.Index) -> bool:
    """Whether a search of the index compares with all it holds, compressed as that may be."""
    *_, innermost = parts(index)
    return isinstance(innermost, faiss.IndexFlatCodes) and not any(
        isinstance(part, faiss.IndexHNSW | faiss.IndexIVF) for part in parts(index)
    )


def takes_parameters(index: faiss.Index, selector: Any) -> bool:
    """Whether a search of the index takes parameters. No class says; a search tells."""
    if index.ntotal == 0:
        return False
    try:
        parameters = search_parameters(index, selector=selector)
        index.search(np.zeros((1, index.d), np.float32), 1, params=parameters)
    except RuntimeError:
        return False
    return True


def search_parameters(
    index: faiss.Index, *, selector: Any = None, widening: float = 1, candidates: int = 1
) -> Any:
    """How to search `index` among the selected rows, looking `widening` times further.

    candidates: at least so many a graph keeps; the last ones it finds are often not the nearest.
    """
    index = faiss.downcast_index(index)
    asked = {"selector": selector, "widening": widening, "candidates": candidates}
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(index.index, **asked)
        return faiss_untyped.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(index.base_index, **asked)
        return faiss_untyped.IndexRefineSearchParameters(
            k_factor=index.k_factor, base_index_params=inner
        )
    if isinstance(index, faiss.IndexIVF):
        nprobe = min(index.nlist, math.ceil(index.nprobe * widening))
        if isinstance(index, faiss.IndexIVFPQ):
            return faiss_untyped.IVFPQSearchParameters(sel=selector, nprobe=nprobe)
        return faiss_untyped.SearchParametersIVF(sel=selector, nprobe=nprobe)
    if isinstance(index, faiss.IndexHNSW):
        ef_search = max(math.ceil(index.hnsw.efSearch * widening), candidates)
        return faiss_untyped.SearchParametersHNSW(
            sel=selector, efSearch=min(index.ntotal, ef_search)
        )
    return faiss_untyped.SearchParameters(sel=selector)
