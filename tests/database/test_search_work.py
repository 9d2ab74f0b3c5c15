"""The work of a search: in blocks, bounded, and ended when its caller leaves."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database import candidates, post_filter
from euclidesdb_server.database.candidates import FoundRows, SpaceQuery
from euclidesdb_server.database.details import DetailsReader
from euclidesdb_server.database.post_filter import PostFilter
from euclidesdb_server.database.requests import Conditions, FindRequest, ModelVectors, NoCaller
from euclidesdb_server.database.search_options import Diversity, GroupBy, SearchOptions
from euclidesdb_server.database.search_work import (
    BLOCK_PRODUCTS,
    MIN_QUERIES,
    PAIR_PRODUCTS,
    SearchWork,
)
from euclidesdb_server.database.space_search import SpaceQueries, SpaceSearch
from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.engines.exact_disk import ExactDiskEngine
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.errors import DeadlineExceeded, InvalidRequest
from euclidesdb_server.values.filters import Attribute
from tests.support.assembled import CALL, Database, no_models

DIM = 8
ROWS = 3000
QUERIES = 1000
LIMIT = 10**12
ENGINES = {
    "exact": ExactEngine(),
    "exact_disk": ExactDiskEngine(),
    "HNSW16": FaissEngine(FaissOptions(index_type="HNSW16")),
    "IVF16,Flat": FaissEngine(FaissOptions(index_type="IVF16,Flat", nprobe=4)),
    "annoy": AnnoyEngine(AnnoyOptions(metric="l2")),
}


class Leaving(NoCaller):
    """A caller that leaves once it has been asked a number of times whether it still waits."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.asked = 0

    def is_active(self) -> bool:
        self.asked += 1
        return self.asked <= self.after


@pytest.fixture
def open_database(tmp_path):
    """Opens the database with some engine and limit; its one space `one` has ROWS random rows."""
    opened = []

    def open_it(engine=None, rows=ROWS, **options):
        models = no_models(tmp_path / "models")
        database = Database(tmp_path, models, {"one": DIM}, engine=engine, **options)
        opened.append(database)
        vectors = np.random.default_rng(1).normal(size=(rows, DIM))
        database.add_vectors("one", [f"item {row}" for row in range(rows)], vectors)
        return database

    yield open_it
    for database in opened:
        database.close()


def many(count=QUERIES, **conditions):
    queries = np.random.default_rng(2).normal(size=(count, DIM)).astype(np.float32)
    return FindRequest(ModelVectors(queries), ("one",), Conditions(10, **conditions))


def answered(database, request, call=CALL):
    (answer,) = database.features.find_similar(request, call)
    return listed(answer.answers)


def listed(answers):
    return [(tuple(each.ids), tuple(each.distances)) for each in answers]


def query_blocks(queries, rows, dim):
    return [*SearchWork(CALL, 1).blocks(queries, rows, dim)]


def searched_in_blocks(database, request, call=CALL):
    """What the space answers in blocks of a tenth of the queries."""
    queries = request.queries.values
    work = SearchWork(call, LIMIT, block_products=ROWS * (DIM + PAIR_PRODUCTS) * QUERIES // 10)
    search = SpaceSearch(
        database.store, database.table, database.spaces["one"], request.conditions, work
    )
    return listed(search.answers(SpaceQueries(len(queries), queries, {})))


def test_blocks_cover_all_queries_with_bounded_work_in_each():
    for queries in (0, 1, 63, 64, 1000, 50_000, 131_072):
        for rows in (0, 1, 60_000, 10_000_000):
            blocks = query_blocks(queries, rows, 128)
            covered = [query for block in blocks for query in range(queries)[block]]
            assert covered == list(range(queries))
            largest = max(block.stop - block.start for block in blocks)
            products = rows * (128 + PAIR_PRODUCTS)
            assert largest <= MIN_QUERIES * 2 or (largest - 1) * products <= BLOCK_PRODUCTS
            assert len(blocks) == 1 or min(b.stop - b.start for b in blocks) >= MIN_QUERIES
            assert largest - min(b.stop - b.start for b in blocks) <= 1


def test_a_search_that_is_short_is_one_block():
    assert query_blocks(100, 100_000, 128) == [slice(0, 100)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("conditions", [{}, {"max_distance": 1.5, "include_attributes": True}])
def test_a_search_in_blocks_answers_as_one_in_a_whole(open_database, engine, conditions):
    database = open_database(ENGINES[engine])
    database.spaces["one"].compact()
    more = np.random.default_rng(3).normal(size=(100, DIM))
    database.add_vectors("one", [f"later {row}" for row in range(100)], more)
    request = many(**conditions)
    assert searched_in_blocks(database, request) == answered(database, request)


def test_a_search_ends_at_the_next_block_when_its_caller_leaves(open_database):
    database = open_database()
    call = Leaving(after=3)
    with pytest.raises(DeadlineExceeded, match="the caller left, or its deadline passed"):
        searched_in_blocks(database, many(), call)
    assert call.asked == 4
    assert len(searched_in_blocks(database, many(), Leaving(after=11))) == QUERIES


def test_lookups_of_stored_items_end_when_the_caller_leaves(open_database):
    database = open_database(rows=50)
    ids = [f"item {row}" for row in range(50)]
    for models in (("one",), ()):
        call = Leaving(after=5)
        with pytest.raises(DeadlineExceeded):
            database.features.find_similar(FindRequest(ids, models, Conditions(1)), call)
        assert call.asked == 6


def repeated_search(database, call=CALL, limit=LIMIT):
    """What a filter answers that repeats a search, for 4 rows and then for 16, until it has 10."""
    (query,) = many(1).queries.values
    space = database.spaces["one"]
    snapshot = space.snapshot()
    near, rows = snapshot.search(query[np.newaxis], 1)
    work, conditions = SearchWork(call, limit), Conditions(10)
    details = DetailsReader(database.store, space.record.number, (), conditions, None, work)
    repeated = PostFilter(space, snapshot, conditions, None, details, work)
    return repeated.answer(
        SpaceQuery(query), FoundRows(1, snapshot.ids(rows[0]), near[0].tolist(), rows[0])
    )


def test_repeated_searches_of_a_filter_end_when_the_caller_leaves(open_database):
    database = open_database()
    call = Leaving(after=2)
    with pytest.raises(DeadlineExceeded):
        repeated_search(database, call)
    assert call.asked == 3
    assert len(repeated_search(database, Leaving(after=3))) == 10


def test_a_call_that_needs_too_many_comparisons_is_refused_with_the_numbers_and_the_key(
    open_database,
):
    database = open_database(limits=ServerConfig(max_comparisons=ROWS * 100))
    assert len(answered(database, many(100))) == 100
    with pytest.raises(InvalidRequest) as refused:
        answered(database, many(101))
    for part in ("303,000", "101 queries", "3,000 rows", "[server] max_comparisons", "300,000"):
        assert part in str(refused.value)


def test_the_comparisons_of_all_models_of_a_call_count_together(tmp_path):
    models = no_models(tmp_path / "models")
    limits = ServerConfig(max_comparisons=5)
    with Database(tmp_path, models, {"one": 2, "two": 2}, limits=limits) as database:
        for number in range(3):
            database.add(str(number), one=[number, 0], two=[0, number])
        assert database.ids("0", "one") == ["1", "2"]
        with pytest.raises(InvalidRequest, match="6 comparisons"):
            database.features.find_similar(FindRequest(["0"], ("one", "two"), Conditions(1)), CALL)


def test_repeated_searches_of_a_filter_count(open_database):
    database = open_database()
    assert len(repeated_search(database, limit=2 * ROWS)) == 10
    with pytest.raises(InvalidRequest, match="max_comparisons"):
        repeated_search(database, limit=2 * ROWS - 1)


def test_an_approximate_index_is_not_taken_to_compare_every_row(open_database):
    database = open_database(FaissEngine(FaissOptions(index_type="IVF32,Flat", nprobe=4)))
    space = database.spaces["one"]
    assert space.rows_compared(10) == ROWS
    space.compact()
    indexed = space.rows_compared(10)
    assert ROWS * 4 // 32 < indexed < ROWS
    database.add("later", one=[0] * DIM)
    assert space.rows_compared(10) == indexed + 1


def test_work_is_counted_up_to_the_limit_and_not_beyond():
    work = SearchWork(CALL, 10)
    work.add(2, 5)
    with pytest.raises(InvalidRequest):
        work.add(1, 1)


GROUPED = SearchOptions(group_by=GroupBy(Attribute("missing")))
DIVERSE = SearchOptions(diversity=Diversity(0.5, 1000))


def test_a_search_for_groups_ends_when_its_caller_leaves(open_database):
    database = open_database()
    call = Leaving(after=5)
    with pytest.raises(DeadlineExceeded):
        answered(database, many(1, options=GROUPED), call)
    assert call.asked == 6
    # all rows are one group: each is read, and the search is repeated until there are no more
    stays = Leaving(after=1000)
    assert [len(ids) for ids, _ in answered(database, many(1, options=GROUPED), stays)] == [1]
    assert stays.asked > 5, stays.asked


def test_repeated_searches_for_groups_count(open_database):
    limits = ServerConfig(max_comparisons=3 * ROWS)
    database = open_database(limits=limits)
    with pytest.raises(InvalidRequest, match="max_comparisons"):
        answered(database, many(1, options=GROUPED))


def test_a_search_for_diversity_ends_when_its_caller_leaves(open_database):
    database = open_database()
    call = Leaving(after=5)
    with pytest.raises(DeadlineExceeded):
        answered(database, many(1, options=DIVERSE), call)
    assert call.asked == 6


def test_the_comparisons_of_diversity_count(open_database):
    database = open_database(limits=ServerConfig(max_comparisons=ROWS + 10 * 1000))
    assert len(answered(database, many(1, options=DIVERSE))) == 1
    with pytest.raises(InvalidRequest, match="max_comparisons"):
        answered(database, many(2, options=DIVERSE))


def test_the_vectors_among_which_diversity_chooses_are_limited(open_database, monkeypatch):
    database = open_database()
    monkeypatch.setattr(post_filter, "MAX_CANDIDATE_BYTES", 1000 * DIM * 4 - 1)
    with pytest.raises(InvalidRequest, match="1,000 candidates of diversity have 32,000 bytes"):
        answered(database, many(1, options=DIVERSE))


def test_records_are_read_no_further_when_the_caller_leaves(open_database):
    database = open_database()
    call = Leaving(after=5)
    with pytest.raises(DeadlineExceeded):
        answered(database, many(1, include_attributes=True), call)
    assert call.asked == 6


def test_a_search_for_groups_ends_at_the_limit_of_rows(open_database, monkeypatch):
    database = open_database()
    monkeypatch.setattr(candidates, "MAX_NEIGHBORS", 100)
    with pytest.raises(InvalidRequest, match="the nearest 100 items are not enough"):
        answered(database, many(1, options=GROUPED))
