"""What is the exact engine's own: its file, and metrics that share it."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.errors import CorruptRecord


@pytest.fixture
def vectors():
    return np.random.default_rng(0).standard_normal((20, 3), np.float32)


def test_rows_are_saved_as_raw_little_endian_float32(vectors, tmp_path):
    ExactEngine().build(vectors).save(tmp_path)
    assert (tmp_path / "vectors.f32").read_bytes() == vectors.astype("<f4").tobytes()


def test_a_segment_saved_under_one_metric_serves_another(vectors, tmp_path):
    l2 = ExactEngine()
    inner_product = ExactEngine(ExactOptions(metric="inner_product"))
    assert l2.build_options == inner_product.build_options
    l2.build(vectors).save(tmp_path)
    found, rows = inner_product.load(tmp_path).search(vectors[:1], 20, None)
    expected = inner_product.build(vectors).search(vectors[:1], 20, None)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_array_equal(found, expected[0])


def test_normalized_rows_have_other_build_options():
    cosine = ExactEngine(ExactOptions(metric="cosine"))
    assert cosine.build_options != ExactEngine().build_options


def test_a_file_of_another_size_is_refused(vectors, tmp_path):
    ExactEngine().build(vectors).save(tmp_path)
    with (tmp_path / "vectors.f32").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptRecord, match="241 bytes, but 20 rows of 3 float32 take 240"):
        ExactEngine().load(tmp_path)


def test_an_unreadable_shape_is_refused(vectors, tmp_path):
    ExactEngine().build(vectors).save(tmp_path)
    (tmp_path / "vectors.json").write_text("{}")
    with pytest.raises(CorruptRecord, match=r"vectors\.json"):
        ExactEngine().load(tmp_path)
