"""A search of one query over several segments, which compares the candidates of all at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from euclidesdb_server.engines.protocol import single_candidates
from euclidesdb_server.engines.registry import create_engine
from euclidesdb_server.index import ModelSpace
from tests.support.assembled import Database, no_models

DIM = 8
PER_SEGMENT = 700


@pytest.fixture(
    scope="module",
    params=[
        ("exact", {}),
        ("annoy", {"metric": "l2"}),
        ("faiss", {"index_type": "HNSW16"}),
        ("faiss", {"index_type": "IVF16,SQ8", "nprobe": "4"}),
        ("faiss", {"index_type": "HNSW16", "metric": "cosine"}),
    ],
    ids=lambda engine: " ".join([engine[0], *engine[1].values()]),
)
def space(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelSpace]:
    """Three segments and some unindexed rows. Every fifth row is there twice."""
    name, options = request.param
    engine = create_engine(name, options, file=None)
    chance = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("space")
    with Database(folder, no_models(folder / "models"), {"m": DIM}, engine=engine) as database:
        twice = chance.standard_normal((PER_SEGMENT // 5, DIM))
        for number in range(4):
            count = 50 if number == 3 else PER_SEGMENT
            vectors = chance.standard_normal((count, DIM))
            copies = len(vectors[::5])
            vectors[::5] = twice[:copies]
            ids = [f"{number}-{row}" for row in range(count)]
            assert not database.add_vectors("m", ids, vectors)
            if number < 3:
                database.spaces["m"].rewriter.flush(threading.Event())
        assert len(database.spaces["m"].segments) == 3
        yield database.spaces["m"]


def test_the_candidates_of_approximate_segments_are_gathered(space):
    query = np.zeros((1, DIM), np.float32)
    for segment in space.segments:
        candidates = single_candidates(segment.segment, query, 10, None)
        assert (candidates is None) is segment.segment.exact
        assert candidates is None or len(candidates) >= 10


def test_a_query_has_the_same_answer_alone_and_in_a_batch(space, subtests):
    for share in (0.0, 0.1, 0.9):  # of deleted rows: those of one share are among those of the next
        with subtests.test(share=share):
            check_answers(space, share)


def check_answers(space, share):
    chance = np.random.default_rng(1)
    for segment in space.segments:
        space.delete(segment.labels[chance.random(PER_SEGMENT) < share].tolist())
    queries = chance.standard_normal((40, DIM)).astype(np.float32)
    queries[0] = space.segments[0].segment.vectors[0]  # of three rows, at least
    for k in (1, 10, 300):
        together = space.search(queries, k)
        found = together.distances.shape[1]
        for place in range(len(queries)):
            alone = space.search(queries[place : place + 1], k)
            np.testing.assert_array_equal(alone.distances[0], together.distances[place])
            assert alone.ids == together.ids[place * found : (place + 1) * found]


def test_the_row_of_a_label_is_found_wherever_it_is(space):
    for segment in space.segments:
        for row in (0, 7, PER_SEGMENT - 1):
            found = space.row(int(segment.labels[row]))
            np.testing.assert_array_equal(found, segment.segment.vectors[row])
    last = int(space.segments[-1].labels[-1])
    assert space.unindexed == 50
    unindexed = space.row(last + 50)
    assert space.search(unindexed[np.newaxis], 1, prepared=True).ids == ["3-49"]
    assert space.row(last + 51) is None
    space.delete([last + 50])
    assert space.row(last + 50) is None
