"""What is faiss's own: factory strings, giving way to Flat, what is saved."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.errors import ConfigError


def engine(index_type="Flat", **options):
    return FaissEngine(FaissOptions(index_type=index_type, **options))


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((1200, 16), np.float32)


def test_l2_is_the_distance_and_not_its_square():
    vectors = np.zeros((500, 2), np.float32)
    vectors[1:] = 100
    vectors[3] = (3, 4)
    found, rows = engine().build(vectors).search(np.zeros((1, 2), np.float32), 2, None)
    assert found.tolist() == [[0, 5]]
    assert rows.tolist() == [[0, 3]]


@pytest.mark.parametrize("rows", [0, 1200])
@pytest.mark.parametrize(
    ("index_type", "metric"),
    [
        ("nonsense", "l2"),
        ("", "l2"),
        ("PQ7", "l2"),  # 7 does not divide 16
        ("PCA32,Flat", "l2"),  # of 16
        ("LSH", "inner_product"),
        ("IDMap,Flat", "l2"),
        ("IDMap2,HNSW16", "cosine"),
    ],
)
def test_an_index_type_that_cannot_work_is_a_configuration_error(vectors, rows, index_type, metric):
    with pytest.raises(ConfigError) as caught:
        engine(index_type, metric=metric).build(vectors[:rows])
    assert f"[faiss] index_type = {index_type!r}" in str(caught.value)


@pytest.mark.parametrize(
    "index_type", ["IVF256,Flat", "PQ8", "PCA12,IVF4,SQ8", "OPQ4,PQ4", "NSG16,Flat", "IMI2x8,Flat"]
)
def test_too_few_rows_to_train_on_make_a_flat_segment(vectors, tmp_path, caplog, index_type):
    few = vectors[:9]
    with caplog.at_level(logging.INFO):
        segment = engine(index_type).build(few)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"faiss cannot build {index_type} of 9 rows" in caplog.text
    assert segment.search(few[:1], 20, None)[1][0, 0] == 0
    segment.save(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text()) == {"index_type": "Flat"}


def test_an_empty_segment_is_flat_and_no_news(vectors, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        engine("IVF256,Flat").build(vectors[:0]).save(tmp_path)
    assert not caplog.records
    assert json.loads((tmp_path / "index.json").read_text()) == {"index_type": "Flat"}


@pytest.mark.parametrize(
    ("index_type", "held"),
    [
        ("Flat", True),
        ("HNSW16", True),
        ("SQ8,RFlat", True),
        ("SQ8", False),
        ("IVF8,Flat", False),
        ("L2norm,Flat", False),
        ("PCA8,Flat", False),
    ],
)
def test_rows_are_saved_beside_an_index_only_where_it_has_them_not(
    vectors, tmp_path, index_type, held
):
    engine(index_type).build(vectors).save(tmp_path)
    assert (tmp_path / "vectors.f32").exists() is not held
    found, rows = engine(index_type).load(tmp_path).search(vectors[:50], 1, None)
    itself = rows[:, 0] == np.arange(50)
    assert itself.mean() > 0.9
    assert (found[itself] == 0).all()


@pytest.mark.parametrize(
    ("index_type", "option"),
    [("IVF64,Flat", "nprobe"), ("PCA16,IVF64,Flat", "nprobe"), ("HNSW4", "ef_search")],
)
def test_looking_further_finds_more_and_rebuilds_nothing(vectors, tmp_path, index_type, option):
    narrow, wide = engine(index_type), engine(index_type, **{option: 64})
    assert narrow.build_options == wide.build_options
    narrow.build(vectors).save(tmp_path)
    queries = np.random.default_rng(1).standard_normal((50, 16), np.float32)
    total = [
        configured.load(tmp_path).search(queries, 10, None)[0].sum()
        for configured in (narrow, wide)
    ]
    assert total[1] < total[0]


def test_other_metrics_or_types_are_built_anew():
    options = [
        engine().build_options,
        engine("HNSW32").build_options,
        engine(metric="cosine").build_options,
    ]
    assert options[0] != options[1] != options[2] != options[0]


def test_a_zero_vector_crowds_nobody_out_under_cosine():
    random = np.random.default_rng(2)
    vectors = normalized(random.standard_normal((800, 16), np.float32))
    vectors[::2] = 0
    found, rows = engine(metric="cosine").build(vectors).search(vectors[1:2], 10, None)
    assert (rows % 2 == 1).all()
    assert found[0, 0] == 0
