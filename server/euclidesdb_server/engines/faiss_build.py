"""Trains and fills a faiss index, in little more memory than the index itself takes.

The rows may be a memory map. faiss copies all of them to transform them (`PCA64,...`), and grows
inverted lists by doubling: of 200,000 rows of 128, `L2norm,Flat` took twice the rows, and
`IVF256,Flat` 1.35 times. Here they are transformed through a file, and the lists are made as long
as they will be.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from euclidesdb_server.engines.faiss_index import faiss_untyped, parts
from euclidesdb_server.values.arrays import Matrix

_BLOCK_VALUES: Final = 1 << 20
"""Numbers that are transformed or assigned to lists at a time: 4 MiB as float32."""
_PCA_ROWS_PER_DIM: Final = 256
"""Rows that a PCA is trained on, per dimension: faiss's 1,000 would be copied twice, and at 128
dimensions take the memory of 256,000 rows."""
_OPQ_ROWS: Final = 16384
_OPQ_SHARE: Final = 8
"""OPQ is trained on at most one row in eight, unless these are few: it copies them six times."""

# What a trial reduces, and to what: lists and bits cost time and need rows, and a trial with fewer
# finds the same faults. 1,024 centroids are enough to train a quantizer of 10 bits on them.
_LISTS: Final = re.compile(r"IVF(\d+)")
_LISTS_OF_TRIAL: Final = 16
_LISTS_OF_TRIAL_WITH_QUANTIZER: Final = 1100
_BITS: Final = re.compile(r"(?<=\dx)(\d+)(?!\d|x)")
_BITS_OF_TRIAL: Final = 10
_MULTI_INDEX: Final = re.compile(r"(?<=IMI2x)(\d+)")
_MULTI_INDEX_BITS_OF_TRIAL: Final = 4

# faiss's messages for an index that can never take rows, however many.
_NEVER_TAKES_ROWS: Final = ("add does not make sense", "not implemented")

# The messages of faiss, and of `check_rows_fill_lists` and `_prepare_opq`, for too few rows.
_TOO_FEW_ROWS: Final = (
    "are fewer than",
    "Number of training points",
    "cannot build a graph smaller",
    "PCA matrix cannot output",
)


def never_takes_rows(error: RuntimeError) -> bool:
    """Whether `fill` failed because such an index can take no rows, however many."""
    return any(message in str(error) for message in _NEVER_TAKES_ROWS)


def shows_too_few_rows(error: RuntimeError) -> bool:
    """Whether `fill` failed only because there are too few rows."""
    return any(message in str(error) for message in _TOO_FEW_ROWS)


def fill(index: faiss.Index, vectors: Matrix, folder: Path | None) -> None:
    """Train `index`, and add the rows.

    folder: for a temporary file; None: one of the system's. Raises RuntimeError as faiss does,
    OSError.
    """
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        for step in _steps(index):
            if isinstance(step, faiss.OPQMatrix):
                _prepare_opq(step, len(vectors))
            if not step.is_trained:
                step.train(vectors)
            vectors = _transformed(step, vectors, folder)
        fill(index.index, vectors, folder)
    elif isinstance(index, faiss.IndexRefine):
        fill(index.base_index, vectors, folder)
        fill(index.refine_index, vectors, folder)
    else:
        index.train(vectors)
        _add(index, vectors)
    index.is_trained = True
    index.ntotal = len(vectors)


def prepare_training(index: faiss.Index) -> None:
    """Set what does not depend on the options of the training of an index."""
    for part in parts(index):
        # otherwise faiss prints a warning for fewer than 39 rows per centroid, many times
        trained: Any
        for trained in (part, getattr(part, "pq", None), getattr(part, "refine_pq", None)):
            if hasattr(trained, "cp"):
                trained.cp.min_points_per_centroid = 1
        # it reorders the codes, by simulated annealing, for a kind of search that is not used
        # here, and takes 25 of the 26 seconds of training PQ8
        if hasattr(part, "do_polysemous_training"):
            part.do_polysemous_training = False
        for step in _steps(part):
            if hasattr(step, "max_points_per_d"):
                step.max_points_per_d = _PCA_ROWS_PER_DIM


def smaller(index_type: str) -> str:
    """The same kind of index with fewer inverted lists and bits, for a trial."""
    lists = _LISTS_OF_TRIAL_WITH_QUANTIZER if "(" in index_type else _LISTS_OF_TRIAL
    index_type = _LISTS.sub(lambda found: f"IVF{_least(found[1], lists)}", index_type)
    index_type = _MULTI_INDEX.sub(
        lambda found: _least(found[1], _MULTI_INDEX_BITS_OF_TRIAL), index_type
    )
    return _BITS.sub(lambda found: _least(found[1], _BITS_OF_TRIAL), index_type)


def hurry_training(index: faiss.Index) -> None:
    """Make the training of an index end soon, for a trial: with few iterations."""
    for part in parts(index):
        if isinstance(part, faiss.IndexIVF):
            prepare_training(part.quantizer)
            hurry_training(part.quantizer)
        for trained in [part, *_quantizers(part)]:
            if hasattr(trained, "cp"):
                trained.cp.niter = 1
            for name in ("niter_codebook_refine", "train_iters", "max_beam_size"):
                if hasattr(trained, name):
                    setattr(trained, name, 1)
        for step in _steps(part):
            if isinstance(step, faiss.OPQMatrix):
                step.niter = 0  # one iteration takes 10 s at 1,024 dimensions


def _quantizers(part: Any) -> list[Any]:
    """What compresses the rows of an index."""
    quantizers = [getattr(part, name) for name in ("pq", "rq", "lsq") if hasattr(part, name)]
    for name in ("prq", "plsq"):
        if hasattr(part, name):
            product = getattr(part, name)
            quantizers += [
                faiss_untyped.downcast_AdditiveQuantizer(product.subquantizer(number))
                for number in range(product.nsplits)
            ]
    return quantizers


def _prepare_opq(step: faiss.OPQMatrix, rows: int) -> None:
    """Raises RuntimeError if there are too few rows: faiss 1.15 would write past its arrays."""
    if step.niter and rows < step.d_out:
        raise RuntimeError(f"{rows} rows are fewer than the {step.d_out} dimensions of OPQ")
    step.max_train_points = min(step.max_train_points, max(_OPQ_ROWS, rows // _OPQ_SHARE))


def _steps(part: Any) -> list[Any]:
    """The transformations of an IndexPreTransform."""
    if not isinstance(part, faiss.IndexPreTransform):
        return []
    chain: Any = part.chain
    return [faiss.downcast_VectorTransform(chain.at(i)) for i in range(chain.size())]


def _least(number: str, limit: int) -> str:
    return str(min(int(number), limit)) if len(number) < 20 else str(limit)


def _add(index: faiss.Index, vectors: Matrix) -> None:
    """Add all rows in one call: faiss then makes what holds them exactly as long as needed."""
    if not isinstance(index, faiss.IndexIVF) or isinstance(index, faiss.IndexIVFFastScan):
        index.add(vectors)
        return
    invlists = faiss_untyped.downcast_InvertedLists(index.invlists)
    if type(invlists) is not faiss_untyped.ArrayInvertedLists:
        index.add(vectors)
        return
    lists = np.empty(len(vectors), np.int64)
    for start, stop in _blocks(vectors):
        lists[start:stop] = index.quantizer.assign(vectors[start:stop], 1)[:, 0]
    sizes = np.bincount(lists[lists >= 0], minlength=index.nlist)
    for number, size in enumerate(sizes.tolist()):
        if size:
            invlists.resize(number, size)
            invlists.resize(number, 0)  # keeps the memory
    index.add_core(
        len(vectors), faiss_untyped.swig_ptr(vectors), None, faiss_untyped.swig_ptr(lists)
    )


def _transformed(step: Any, vectors: Matrix, folder: Path | None) -> Matrix:
    """The rows as a step of an IndexPreTransform makes them, mapped from a nameless file."""
    if not len(vectors):
        return np.empty((0, step.d_out), np.float32)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for start, stop in _blocks(vectors):
            _write(file.fileno(), step.apply(vectors[start:stop]))
        return np.asarray(
            np.memmap(file, np.float32, mode="r", shape=(len(vectors), step.d_out)), np.float32
        )


def _write(descriptor: int, rows: Matrix) -> None:
    view = np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8).data
    while view:
        view = view[os.write(descriptor, view) :]


def _blocks(vectors: Matrix) -> list[tuple[int, int]]:
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    count = math.ceil(len(vectors) / step)
    return [(i * step, min((i + 1) * step, len(vectors))) for i in range(count)]
