"""What only the faiss engine does: factory strings, the fallback to Flat, the files it saves."""

from __future__ import annotations

import json
import logging

import faiss
import numpy as np
import pytest

from euclidesdb_server.engines import faiss_index
from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.faiss_build import fill, prepare_training
from euclidesdb_server.engines.faiss_index import RowSearch
from euclidesdb_server.engines.protocol import rows_compared
from euclidesdb_server.engines.vectors import save_vectors
from euclidesdb_server.errors import ConfigError, CorruptRecord
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.row_mask import RowMask


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
        ("ZnLattice2x3_4", "l2"),
    ],
)
def test_an_index_type_that_cannot_work_is_a_configuration_error(vectors, rows, index_type, metric):
    with pytest.raises(ConfigError) as caught:
        engine(index_type, metric=metric).build(vectors[:rows])
    assert f"[faiss] index_type = {index_type!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("index_type", "metric", "reason"),
    [
        ("nonsense", "l2", "could not parse index string nonsense"),
        ("", "l2", "could not parse index string"),
        ("HNSW32,Foo", "l2", "could not parse HNSW code description Foo in HNSW32,Foo"),
        (
            "PQ7",
            "l2",
            "The dimension of the vector (d) should be a multiple of the number of "
            "subquantizers (M)",
        ),
        ("LSH", "inner_product", "'metric == METRIC_L2' failed"),
    ],
)
def test_an_error_of_faiss_is_reported_without_its_source_location(
    vectors, index_type, metric, reason
):
    with pytest.raises(ConfigError) as caught:
        engine(index_type, metric=metric).build(vectors)
    where = f"cannot be used for vectors of 16 under {metric}"
    assert str(caught.value) == f"[faiss] index_type = {index_type!r} {where}: {reason}"


@pytest.mark.parametrize(
    "index_type", ["IVF256,Flat", "PQ8", "PCA12,IVF4,SQ8", "OPQ4,PQ4", "NSG16,Flat", "IMI2x8,Flat"]
)
def test_too_few_rows_to_train_on_make_a_flat_segment(vectors, tmp_path, caplog, index_type):
    few = vectors[:9]
    with caplog.at_level(logging.INFO):
        segment = engine(index_type).build(few)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"faiss cannot build {index_type} of 9 rows" in caplog.text
    assert ".cpp" not in caplog.text
    assert segment.description == f"Flat (9 rows are too few for {index_type})"
    assert segment.exact
    assert segment.search(few[:1], 20, None)[1][0, 0] == 0
    segment.save(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text()) == {"index_type": "Flat"}
    assert engine(index_type).load(tmp_path).description == segment.description


@pytest.mark.parametrize(
    ("index_type", "lists"), [("IVF64,Flat", 64), ("IVF64_HNSW32,SQ8", 64), ("IMI2x4,Flat", 256)]
)
def test_rows_are_not_spread_over_more_lists_than_there_are(vectors, index_type, lists):
    few, enough = vectors[: lists - 1], vectors[:lists]
    about = f"Flat ({lists - 1} rows are too few for {index_type})"
    assert engine(index_type).build(few).description == about
    assert engine(index_type).build(enough).description == index_type


def test_an_empty_segment_is_flat_and_no_news(vectors, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        empty = engine("IVF256,Flat").build(vectors[:0])
        empty.save(tmp_path)
    assert empty.description == "Flat (no rows yet)"
    assert not caplog.records
    assert json.loads((tmp_path / "index.json").read_text()) == {"index_type": "Flat"}


@pytest.mark.parametrize(
    "index_type", ["Flat", "HNSW16", "SQ8,RFlat", "SQ8", "IVF8,Flat", "L2norm,Flat", "PCA8,Flat"]
)
def test_an_index_finds_the_rows_that_are_saved_next_to_it(vectors, tmp_path, index_type):
    engine(index_type).build(vectors).save(tmp_path)
    assert (tmp_path / "vectors.f32").read_bytes() == vectors.tobytes()
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


@pytest.mark.parametrize(
    "index_type",
    [
        "HNSW16",
        "HNSW16_SQ8",
        "HNSW16_PQ4",
        "IVF16,Flat",
        "IVF16_HNSW8,Flat",
        "IVF16,SQ8,RFlat",
        "IVF16(PCA8,Flat),PQ8x4",
        "IVF16,PQ8x4fs",
        "IVF16,PQ8+8",
        "IVF16,RaBitQ",
        "IMI2x4,PQ8x4",
        "PCA8,IVF16,PQ8x4",
        "PCAR8,SQ8",
        "OPQ4_8,IVF4,PQ4x4",
        "ITQ16,LSH",
        "RR12,SQfp16",
        "L2norm,Flat",
        "Pad24,HNSW16",
        "NSG16,Flat",
        "PQ8x4",
        "PQ8x4fs",
        "RQ2x4",
        "RaBitQ",
        "SQ4",
    ],
)
def test_any_string_of_the_factory_makes_a_segment(vectors, tmp_path, capfd, index_type):
    rows = vectors[:900]
    segment = engine(index_type).build(rows)
    assert segment.description == index_type
    assert not segment.exact
    segment.save(tmp_path)
    loaded = engine(index_type).load(tmp_path)
    assert loaded.description == index_type
    masks = [None, RowMask(np.arange(900) % 2 == 0), RowMask(np.arange(900) % 100 < 40)]
    for mask in masks:
        found, answers = segment.search(rows[:30], 10, mask)
        assert found.shape == (30, 10)
        truth, _ = segment.search_exactly(rows[:30], 10, mask)
        assert (found <= truth[:, -1:]).mean() > 0.3
        np.testing.assert_array_equal(loaded.search(rows[:30], 10, mask)[1], answers)
    if not index_type.startswith("OPQ"):  # it trains a codec of its own
        assert "WARNING" not in capfd.readouterr().err


def test_flat_keeps_the_order_that_rounding_would_lose():
    """faiss takes |x|² + |q|² - 2xq for the distance where the queries are many."""
    random = np.random.default_rng(0)
    vectors = (1000 + random.standard_normal((2000, 8)) * 1e-2).astype(np.float32)
    segment = engine().build(vectors)
    assert segment.exact
    _, rows = segment.search(vectors[:100], 10, None)
    np.testing.assert_array_equal(rows, segment.search_exactly(vectors[:100], 10, None)[1])
    np.testing.assert_array_equal(rows[:, 0], np.arange(100))


@pytest.mark.parametrize("index_type", ["Flat", "HNSW8", "SQ8,RFlat"])
def test_an_index_refers_to_the_rows_and_holds_no_copy(vectors, tmp_path, index_type, monkeypatch):
    indexes: list[faiss.Index] = []
    refer = faiss_index.refer_to_rows

    def noted(index: faiss.Index, rows: Matrix) -> None:
        indexes.append(index)
        refer(index, rows)

    monkeypatch.setattr("euclidesdb_server.engines.faiss.refer_to_rows", noted)
    built = engine(index_type).build(vectors)
    built.save(tmp_path)
    loaded = engine(index_type).load(tmp_path)
    expected = built.search(vectors[:20], 5, None)
    for found in (loaded.search(vectors[:20], 5, None), built.search(vectors[:20], 5, None)):
        np.testing.assert_array_equal(found, expected)
    assert all(not faiss_index._flat_part(index).codes.is_owned for index in indexes)
    assert (tmp_path / "index.faiss").stat().st_size < vectors.nbytes / 2 + 100 * len(vectors)


def test_an_index_of_other_rows_is_damage(vectors, tmp_path):
    engine("HNSW8").build(vectors).save(tmp_path)
    save_vectors(tmp_path, vectors[:-1])
    with pytest.raises(CorruptRecord, match="an index of"):
        engine("HNSW8").load(tmp_path)


def test_a_build_leaves_the_number_of_threads_alone(vectors):
    before = faiss.omp_get_max_threads()
    engine("HNSW8").build(vectors, threads=before + 1)
    assert faiss.omp_get_max_threads() == before
    with pytest.raises(ConfigError):
        engine("IDMap,Flat").build(vectors, threads=before + 1)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize(
    "index_type",
    [
        "IVF16,Flat",
        "IVF16,PQ8x4",
        "IVF16,PQ8+8",
        "IVF16_HNSW8,SQ8",
        "IMI2x4,PQ8x4",
        "IVF16,PQ8x4fs",
        "IVF16,SQ8,RFlat",
        "PCA8,IVF16,SQ8",
        "PCA12,PQ4x4,RFlat",
        "L2norm,Flat",
    ],
)
def test_an_index_is_filled_as_faiss_itself_fills_it(vectors, tmp_path, index_type):
    theirs = faiss.index_factory(16, index_type)
    prepare_training(theirs)
    theirs.train(vectors)
    theirs.add(vectors)
    ours = faiss.index_factory(16, index_type)
    prepare_training(ours)
    fill(ours, vectors, tmp_path)
    assert (ours.ntotal, ours.is_trained) == (1200, True)
    assert list(tmp_path.iterdir()) == []
    for our_part, their_part in zip(
        ours.search(vectors[:50], 10), theirs.search(vectors[:50], 10), strict=True
    ):
        np.testing.assert_array_equal(our_part, their_part)


def test_opq_is_not_trained_on_fewer_rows_than_dimensions():
    """faiss 1.15 writes past its arrays then."""
    rows = np.random.default_rng(0).standard_normal((300, 320), np.float32)
    segment = engine("OPQ4,PQ4x4").build(rows)
    assert segment.description == "Flat (300 rows are too few for OPQ4,PQ4x4)"
    assert engine("OPQ4_32,PQ4x4").build(rows).description == "OPQ4_32,PQ4x4"


def test_rerank_looks_at_more_and_rebuilds_nothing(vectors, tmp_path):
    engine("PQ8x4").build(vectors).save(tmp_path)
    queries = np.random.default_rng(1).standard_normal((50, 16), np.float32)
    total = [
        engine("PQ8x4", rerank=rerank).load(tmp_path).search(queries, 10, None)[0].sum()
        for rerank in (1, 0, 4, 16)
    ]
    assert engine("PQ8x4", rerank=16).build_options == engine("PQ8x4").build_options
    assert total[0] > total[1] == total[2] > total[3]


def test_other_metrics_or_types_are_built_anew():
    options = [
        engine().build_options,
        engine("HNSW32").build_options,
        engine(metric="cosine").build_options,
    ]
    assert options[0] != options[1] != options[2] != options[0]


def test_a_zero_vector_displaces_no_other_under_cosine():
    random = np.random.default_rng(2)
    vectors = normalized(random.standard_normal((800, 16), np.float32))
    vectors[::2] = 0
    found, rows = engine(metric="cosine").build(vectors).search(vectors[1:2], 10, None)
    assert (rows % 2 == 1).all()
    assert found[0, 0] == 0


@pytest.mark.parametrize(
    "index_type", ["IVF16,Flat", "IVF16,PQ4", "PCA8,IVF16,Flat", "HNSW16", "IVF16,Flat,RFlat"]
)
def test_a_search_that_looks_further_is_estimated_to_cost_more(vectors, index_type):
    few, many = (
        rows_compared(
            FaissEngine(FaissOptions(index_type=index_type, nprobe=value, ef_search=value)).build(
                vectors
            ),
            1,
        )
        or 0
        for value in (4, 16)
    )
    assert 2 * few < many <= 4 * few
    # what is compressed is compared with every row, though not by its full vector
    assert rows_compared(FaissEngine(FaissOptions(index_type="PQ4")).build(vectors), 1) == len(
        vectors
    )


@pytest.mark.parametrize("index_type", ["HNSW16", "IVF16,SQ8", "PCA4,Flat", "LSH"])
def test_rows_are_found_as_faiss_itself_finds_them(vectors, index_type):
    index = faiss.index_factory(vectors.shape[1], index_type)
    index.train(vectors)
    index.add(vectors)
    find = RowSearch(index)
    for queries in (vectors[:1], vectors[:50], np.asfortranarray(vectors[:7])):
        for count in (1, 10, len(vectors) + 5):
            expected = index.search(queries, count)[1]
            np.testing.assert_array_equal(find(queries, count), expected)
    with pytest.raises(ValueError, match="queries of shape"):
        find(vectors[:1, :-1], 10)
