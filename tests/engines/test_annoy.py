"""What is annoy's own: its forest is the same each time, and as large as configured."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.protocol import rows_compared


@pytest.fixture(scope="module")
def vectors():
    return normalized(np.random.default_rng(0).standard_normal((1500, 16), np.float32))


def saved_forest(engine, vectors, folder, threads=1):
    folder.mkdir()
    engine.build(vectors, threads=threads).save(folder)
    return (folder / "trees.annoy").read_bytes()


def test_the_same_rows_grow_the_same_forest(vectors, tmp_path):
    first = saved_forest(AnnoyEngine(), vectors, tmp_path / "first")
    assert saved_forest(AnnoyEngine(), vectors, tmp_path / "second") == first


def test_more_threads_grow_other_trees_but_as_many(vectors, tmp_path):
    engine = AnnoyEngine(AnnoyOptions(trees=20))
    forests = [saved_forest(engine, vectors, tmp_path / str(n), threads=n) for n in (1, 2)]
    assert forests[0] != forests[1]
    assert (
        engine.build(vectors, threads=2).description
        == engine.build(vectors).description
        == "20 trees"
    )
    assert AnnoyEngine(AnnoyOptions(trees=1)).build(vectors).description == "1 tree"


def test_rerank_asks_the_trees_for_more(vectors):
    queries = normalized(np.random.default_rng(1).standard_normal((50, 16), np.float32))
    total = [
        AnnoyEngine(AnnoyOptions(trees=4, rerank=rerank))
        .build(vectors)
        .search(queries, 10, None)[0]
        .sum()
        for rerank in (0, 1, 8)
    ]
    assert total[2] < total[0] == total[1]


def test_trees_are_counted_by_dimension_unless_given(vectors, tmp_path):
    by_factor = AnnoyEngine(AnnoyOptions(tree_factor=2))
    given = AnnoyEngine(AnnoyOptions(trees=32))
    fewer = AnnoyEngine(AnnoyOptions(trees=8))
    forest = saved_forest(by_factor, vectors, tmp_path / "factor")
    assert saved_forest(given, vectors, tmp_path / "given") == forest
    assert len(saved_forest(fewer, vectors, tmp_path / "fewer")) < len(forest)


def test_cosine_is_not_the_angular_distance_of_annoy():
    angles = np.linspace(0, np.pi, 700)
    vectors = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    found, rows = AnnoyEngine().build(vectors).search(vectors[:1], 50, None)
    assert found[0, 0] == 0
    np.testing.assert_allclose(found[0], 1 - np.cos(angles[rows[0]]), rtol=1e-3, atol=1e-7)


def test_looking_at_more_nodes_finds_more_and_rebuilds_nothing(vectors, tmp_path):
    narrow = AnnoyEngine(AnnoyOptions(trees=4, search_k=20))
    wide = AnnoyEngine(AnnoyOptions(trees=4, search_k=2000))
    assert narrow.build_options == wide.build_options
    narrow.build(vectors).save(tmp_path)
    queries = normalized(np.random.default_rng(1).standard_normal((50, 16), np.float32))
    total = [
        configured.load(tmp_path).search(queries, 10, None)[0].sum()
        for configured in (narrow, wide)
    ]
    assert total[1] < total[0]


def test_a_search_that_looks_at_more_nodes_is_estimated_to_cost_more(vectors):
    few, more, most = (
        rows_compared(AnnoyEngine(options).build(vectors), 10) or 0
        for options in (
            AnnoyOptions(trees=4),
            AnnoyOptions(trees=16),
            AnnoyOptions(trees=4, search_k=5000),
        )
    )
    assert 0 < few < more < most
