"""Builds one segment of the vectors in its folder."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.builder.search_check import check_searches
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.engine_reference import referenced
from euclidesdb_server.engines.vectors import load_vectors
from euclidesdb_server.system.file_sums import file_sum
from euclidesdb_server.system.fsync import sync
from euclidesdb_server.system.thread_priority import lower_thread_priority
from euclidesdb_server.values.arrays import Matrix

_QUERIES = 8


def build(job: dict[str, Any]) -> dict[str, Any]:
    """`{"files": {name: [bytes, crc32]}, "description": text}`, or `{"failed": reason}`.

    job: `{"folder": path, "engine": as `engine_reference`, "threads": n}`.
    """
    lower_thread_priority()
    try:
        return _build(Path(job["folder"]), job["engine"], job["threads"])
    except Exception as error:  # an engine may raise anything
        traceback.print_exc()
        return {"failed": _reason(error)}


def _build(folder: Path, engine_reference: dict[str, Any], threads: int) -> dict[str, Any]:
    description = build_segment(referenced(engine_reference), folder, threads=threads)
    files = {}
    for file in sorted(folder.iterdir()):
        sync(file)
        summed = file_sum(file)
        files[file.name] = [summed.size, summed.crc32]
    sync(folder)
    return {"files": files, "description": description}


def build_segment(engine: SearchEngine, folder: Path, *, threads: int) -> str:
    """Build and save the segment of the vectors in `folder`, load it and search it.

    Returns its description. Raises whatever the engine raises, and ValueError if it breaks its
    contract.
    """
    vectors = load_vectors(folder)
    rows, queries = len(vectors), _some_rows(vectors)
    segment = engine.build(vectors, threads=threads, folder=folder)
    del vectors
    segment.save(folder)
    del segment
    loaded = engine.load(folder)
    check_searches(loaded, queries, rows)
    return loaded.description


def _some_rows(vectors: Matrix) -> Matrix:
    """A few of them, spread over the matrix, to search for; a row of ones if there are none."""
    if not len(vectors):
        return np.ones((1, vectors.shape[1]), np.float32)
    return vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), _QUERIES)).astype(np.int64)]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {str(error) or 'an allocation failed'}"
    return str(error) or repr(error)
