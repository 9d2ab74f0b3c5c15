"""What is exact_disk's own: bounded memory, reads of only what a mask allows, its options."""

from __future__ import annotations

import gc
import os
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.engines.exact_disk import ExactDiskEngine, ExactDiskOptions, VectorFile
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.values.metric import L2, Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask


def test_pnorm_and_normalize_make_the_metric():
    assert ExactDiskEngine().metric == L2
    assert ExactDiskEngine(ExactDiskOptions(pnorm=1)).metric == Metric(MetricKind.LP, p=1)
    both = ExactDiskEngine(ExactDiskOptions(pnorm=2, normalize=True)).metric
    assert both == Metric(MetricKind.L2, normalized=True)


def test_a_search_holds_a_block_and_not_the_rows(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((40_000, 256), np.float32)  # 41 MB
    ExactEngine().build(vectors).save(tmp_path)
    queries, size = vectors[:2].copy(), vectors.nbytes
    del vectors
    segment = ExactDiskEngine().load(tmp_path)
    tracemalloc.start()
    try:
        segment.search(queries, 10, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20 < size / 4


def test_saving_releases_the_matrix(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((100, 8), np.float32)
    query = vectors[:1].copy()
    alive = weakref.ref(vectors)
    segment = ExactDiskEngine().build(vectors)
    segment.save(tmp_path)
    del vectors
    gc.collect()
    assert alive() is None
    assert segment.search(query, 1, None)[1].tolist() == [[0]]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_collected_segment_closes_its_file(tmp_path):
    segment = ExactDiskEngine().build(np.ones((5, 2), np.float32))
    before = open_files()
    segment.save(tmp_path)
    assert open_files() == before + 1
    del segment
    gc.collect()
    assert open_files() == before


def test_a_file_cut_short_while_open_is_an_error_and_no_answer(tmp_path):
    vectors = np.ones((100, 8), np.float32)
    segment = ExactDiskEngine().build(vectors)
    segment.save(tmp_path)
    os.truncate(tmp_path / "vectors.f32", 1000)
    with pytest.raises(CorruptRecord, match="ends at byte 1000"):
        segment.search(vectors[:1], 3, None)


@pytest.mark.parametrize("allowed_rows", [[0], [4999], [7, 8, 9, 2000, 4998, 4999], []])
def test_only_runs_of_allowed_rows_are_read(tmp_path, allowed_rows):
    vectors = np.arange(5000 * 512, dtype=np.float32).reshape(5000, 512)
    ExactEngine().build(vectors).save(tmp_path)
    allowed = np.zeros(5000, bool)
    allowed[allowed_rows] = True
    read = []
    for rows, block in VectorFile(tmp_path).blocks(RowMask(allowed)):
        np.testing.assert_array_equal(block, vectors[rows])
        read += rows.tolist()
    assert set(allowed_rows) <= set(read)
    assert len(read) <= 8
