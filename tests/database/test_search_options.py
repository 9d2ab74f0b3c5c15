"""Offset, exact, groups, diversity, examples and fusion, against their plain definitions."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.requests import (
    Conditions,
    Examples,
    FindRequest,
    ModelVector,
    ModelVectors,
)
from euclidesdb_server.database.search_options import (
    Diversity,
    GroupBy,
    SearchOptions,
)
from euclidesdb_server.engines.distances import distances, normalized
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.errors import DimensionMismatch, InvalidRequest, UnknownItem
from euclidesdb_server.values.filters import Attribute, Prediction, PredictionValue
from tests.support.assembled import CALL, Database, no_models

DIM = 3
METRICS = ("l2", "cosine", "inner_product")
GROUPS = (None, "a", "b", "c", 1, True)


def vectors_of(rows, seed):
    # few different numbers, so that many distances are equal
    return np.random.default_rng(seed).integers(-2, 3, (rows, DIM)).astype(np.float32)


class Sample:
    """A database with random items, some of them indexed; and the same in plain Python."""

    def __init__(self, folder, metric, rows, seed):
        engine = ExactEngine(ExactOptions(metric=metric))
        self.database = Database(
            folder, no_models(folder / "models"), {"one": DIM, "two": DIM}, engine=engine
        )
        self.metric = self.database.spaces["one"].metric
        self.ids = [f"item {row}" for row in range(rows)]
        chance = np.random.default_rng(seed)
        self.groups = {item_id: GROUPS[chance.integers(len(GROUPS))] for item_id in self.ids}
        self.vectors = {}
        for model, model_seed in (("one", seed), ("two", seed + 1000)):
            rows_of_model = vectors_of(rows, model_seed)
            self.vectors[model] = dict(zip(self.ids, rows_of_model, strict=True))
            texts = [json.dumps({"group": self.groups[item_id]}) for item_id in self.ids]
            self.database.add_vectors(model, self.ids, rows_of_model, attributes_json=texts)
            if seed % 2:
                self.database.spaces[model].compact()

    def prepared(self, vectors):
        matrix = np.array(vectors, np.float32).reshape(-1, DIM)
        return normalized(matrix) if self.metric.normalizes else matrix

    def nearest(self, query, model="one", left_out=(), max_distance=None):
        """All items, nearest first: (id, distance)."""
        ids = [item_id for item_id in self.ids if item_id not in left_out]
        rows = self.prepared([self.vectors[model][item_id] for item_id in ids])
        near = distances(self.prepared([query])[0], rows, self.metric).tolist()
        pairs = sorted(zip(ids, near, strict=True), key=lambda pair: pair[1])
        return [pair for pair in pairs if max_distance is None or pair[1] <= max_distance]

    def ranked(self, pairs, options, top_k, model="one"):
        """The answer that the options define, of items in the order of their distance."""
        if options.group_by is not None:
            counts, passing = {}, []
            for item_id, distance in pairs:
                value = self.groups[item_id]
                key = (type(value), value)
                counts[key] = counts.get(key, 0) + 1
                if counts[key] <= options.group_by.max_per_group:
                    passing.append((item_id, distance))
            pairs = passing
        if options.diversity is not None:
            pairs = self.diverse(pairs[: options.pool(top_k)], options, model)
        return pairs[options.offset : options.offset + top_k]

    def diverse(self, pairs, options, model):
        weight = options.diversity.weight
        rows = {item_id: self.prepared([self.vectors[model][item_id]]) for item_id, _ in pairs}
        chosen, left = pairs[:1], pairs[1:]
        while left:

            def score(pair):
                redundancy = min(
                    float(distances(rows[other][0], rows[pair[0]], self.metric)[0])
                    for other, _ in chosen
                )
                return weight * redundancy - (1 - weight) * pair[1]

            best = max(left, key=score)  # the first of equal ones
            chosen.append(best)
            left.remove(best)
        return chosen

    def find(self, queries, options, top_k, models=("one",), **conditions):
        request = FindRequest(queries, models, Conditions(top_k, options=options, **conditions))
        return self.database.features.find_similar(request, CALL)


def pairs_of(neighbors):
    return [(neighbor.id, neighbor.distance) for neighbor in neighbors]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Makes each sample once."""
    made = {}

    def sample(metric, rows, seed):
        key = (metric, rows, seed)
        if key not in made:
            made[key] = Sample(tmp_path_factory.mktemp("sample"), *key)
        return made[key]

    yield sample
    for each in made.values():
        each.database.close()


SAMPLES = st.tuples(st.sampled_from(METRICS), st.sampled_from((0, 1, 7, 40)), st.integers(0, 1))
QUERIES = st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM)


@st.composite
def options_and_top_k(draw):
    top_k, offset = draw(st.integers(1, 12)), draw(st.integers(0, 6))
    # eighths: sums of these with small numbers are exact, so ties are ties on both sides
    diversity = draw(st.none() | st.sampled_from((0, 0.125, 0.5, 1)))
    candidates = draw(st.sampled_from((0, top_k + offset, 30)))
    per_group = draw(st.none() | st.integers(1, 3))
    options = SearchOptions(
        offset=offset,
        exact=draw(st.booleans()),
        diversity=None if diversity is None else Diversity(diversity, candidates),
        group_by=None if per_group is None else GroupBy(Attribute("group"), per_group),
    )
    return options, top_k


@settings(max_examples=150, deadline=None)
@given(SAMPLES, QUERIES, options_and_top_k(), st.none() | st.sampled_from((0.0, 1.0, 2.5)))
def test_a_search_by_vector_answers_as_the_options_define(
    samples, kind, query, chosen, max_distance
):
    sample, (options, top_k) = samples(*kind), chosen
    nearest = sample.nearest(query, max_distance=max_distance)
    expected = sample.ranked(nearest, options, top_k)
    vector = ModelVector(np.array(query, np.float32))
    (answer,) = sample.find([vector], options, top_k, max_distance=max_distance)
    assert pairs_of(answer.neighbors) == expected
    others = ModelVectors(np.array([query, query[::-1], query], np.float32))
    (many,) = sample.find(others, options, top_k, max_distance=max_distance)
    assert [pairs_of(each) for each in many.answers][::2] == [expected] * 2


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.integers(0, 39), options_and_top_k())
def test_a_search_by_id_answers_as_the_options_define(samples, kind, position, chosen):
    sample, (options, top_k) = samples(*kind), chosen
    if position >= len(sample.ids):
        return
    item_id = sample.ids[position]
    nearest = sample.nearest(sample.vectors["one"][item_id], left_out={item_id})
    (answer,) = sample.find([item_id], options, top_k)
    assert pairs_of(answer.neighbors) == sample.ranked(nearest, options, top_k)


@settings(max_examples=60, deadline=None)
@given(
    SAMPLES,
    st.lists(st.integers(0, 39) | st.tuples(*[st.integers(-3, 3)] * DIM), min_size=1, max_size=4),
    st.lists(st.integers(0, 39) | st.tuples(*[st.integers(-3, 3)] * DIM), max_size=3),
    options_and_top_k(),
    st.booleans(),
)
def test_examples_are_searched_as_defined(samples, kind, positive, negative, chosen, include_self):
    sample, (options, top_k) = samples(*kind), chosen
    if not sample.ids:
        return

    def example(given_as):
        if isinstance(given_as, int):
            return sample.ids[given_as % len(sample.ids)]
        return ModelVector(np.array(given_as, np.float32))

    def vector(made):
        of_item = sample.vectors["one"][made] if isinstance(made, str) else made.values
        return sample.prepared([of_item])[0].astype(np.float64)

    examples = Examples(tuple(map(example, positive)), tuple(map(example, negative)))
    query = np.mean([vector(each) for each in examples.positive], axis=0)
    if negative:
        query = 2 * query - np.mean([vector(each) for each in examples.negative], axis=0)
    stored = {each for _, each in examples.named() if isinstance(each, str)}
    nearest = sample.nearest(query, left_out=() if include_self else stored)
    (answer,) = sample.find([examples], options, top_k, include_self=include_self)
    assert pairs_of(answer.neighbors) == sample.ranked(nearest, options, top_k)


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.integers(0, 39), options_and_top_k())
def test_results_are_fused_by_reciprocal_ranks(samples, kind, position, chosen):
    sample, (options, top_k) = samples(*kind), chosen
    if position >= len(sample.ids):
        return
    options = SearchOptions(
        offset=options.offset, group_by=options.group_by, diversity=options.diversity, fuse=True
    )
    item_id = sample.ids[position]
    first = SearchOptions(group_by=options.group_by, diversity=options.diversity)
    if options.diversity is not None:
        pool = options.diversity.pool(top_k + options.offset)
        first = SearchOptions(
            group_by=options.group_by, diversity=Diversity(options.diversity.weight, pool)
        )
    scores = {}
    answers = sample.find([item_id], options, top_k, models=("two", "one"))
    for answer in answers:
        nearest = sample.nearest(
            sample.vectors[answer.model][item_id], answer.model, left_out={item_id}
        )
        ranking = sample.ranked(nearest, first, top_k + options.offset, answer.model)
        assert pairs_of(answer.neighbors) == ranking[options.offset :]
        for rank, (found, _) in enumerate(ranking, 1):
            scores[found] = scores.get(found, 0) + Fraction(1, 60 + rank)
    ranked = sorted(scores, key=lambda found: -scores[found])
    ranked = ranked[options.offset : options.offset + top_k]
    assert [found.id for found in answers.fused] == ranked
    assert [found.score for found in answers.fused] == pytest.approx(
        [float(scores[found]) for found in ranked]
    )


def test_an_exact_search_finds_what_an_index_misses(tmp_path):
    chance = np.random.default_rng(5)
    vectors = chance.standard_normal((3000, 16)).astype(np.float32)
    engine = FaissEngine(FaissOptions(index_type="IVF64,Flat", nprobe=1))
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 16}, engine=engine) as database:
        database.add_vectors("one", [str(row) for row in range(3000)], vectors)
        database.spaces["one"].compact()
        near = np.linalg.norm(vectors - vectors[0], axis=1).argsort()[1:11]
        expected = [str(row) for row in near]
        options = SearchOptions(exact=True)
        assert database.ids("0", "one", 10) != expected
        assert database.ids("0", "one", 10, options=options) == expected


def test_an_exact_search_counts_every_row(tmp_path):
    vectors = np.random.default_rng(5).standard_normal((3000, 16))
    engine = FaissEngine(FaissOptions(index_type="IVF64,Flat", nprobe=1))
    limits = ServerConfig(max_comparisons=2999)
    models = no_models(tmp_path / "m")
    with Database(tmp_path, models, {"one": 16}, engine=engine, limits=limits) as database:
        database.add_vectors("one", [str(row) for row in range(3000)], vectors)
        database.spaces["one"].compact()
        assert len(database.ids("0", "one", 1)) == 1
        with pytest.raises(InvalidRequest, match="3,000 comparisons"):
            database.ids("0", "one", 1, options=SearchOptions(exact=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (SearchOptions(offset=-1), "offset = -1 should not be negative"),
        (
            SearchOptions(offset=991),
            "offset = 991 and top_k = 10 add up to 1001; the limit is 1000",
        ),
        (SearchOptions(top_labels=-1), "top_labels = -1 should be 0 to 1,000"),
        (SearchOptions(attribute_names=("",)), "the name '' in attribute_names has 0 characters"),
        (
            SearchOptions(attribute_names=("x" * 1025,)),
            r"'x{48}\.\.\.' in attribute_names has 1,025",
        ),
        (
            SearchOptions(attribute_names=tuple(map(str, range(101)))),
            "101 attribute_names; the limit is 100",
        ),
        (SearchOptions(diversity=Diversity(-0.5)), "weight = -0.5 should be from 0 to 1"),
        (SearchOptions(diversity=Diversity(float("nan"))), "weight = nan should be"),
        (
            SearchOptions(offset=2, diversity=Diversity(0.5, 11)),
            r"candidates = 11 should be 12 \(offset \+ top_k\) to 10,000, or 0",
        ),
        (SearchOptions(diversity=Diversity(0.5, 10_001)), "candidates = 10001 should be 10"),
        (SearchOptions(diversity=Diversity(0.5, -3)), "candidates = -3 should be 10"),
        (
            SearchOptions(group_by=GroupBy(Attribute("x"), -1)),
            "max_per_group = -1 should be at least 1",
        ),
        (
            SearchOptions(group_by=GroupBy(Prediction(1, PredictionValue.CONFIDENCE))),
            "grouped by the label that a model predicts, not by its confidence",
        ),
    ],
)
def test_invalid_options_are_refused_with_the_value(database, options, says):
    database.add("a", one=[1, 2])
    with pytest.raises(InvalidRequest, match=says):
        database.ids("a", "one", 10, options=options)


def test_diversity_limits_the_candidates_of_a_call(database):
    options = SearchOptions(diversity=Diversity(0.5, 10_000))
    queries = ModelVectors(np.zeros((101, 2), np.float32))
    request = FindRequest(queries, ("one",), Conditions(10, options=options))
    with pytest.raises(InvalidRequest, match="would rank, with its options, more than 1,000,000"):
        database.features.find_similar(request, CALL)


def test_fuse_is_for_one_query(database):
    queries = ModelVectors(np.zeros((2, 2), np.float32))
    request = FindRequest(queries, ("one",), Conditions(1, options=SearchOptions(fuse=True)))
    with pytest.raises(InvalidRequest, match="of one query together, not those of 2"):
        database.features.find_similar(request, CALL)


@pytest.mark.parametrize(
    ("examples", "error", "says"),
    [
        (Examples(("a", "nobody")), UnknownItem, r"examples.positive\[1\]: no item 'nobody'"),
        (Examples(("a",), ("",)), InvalidRequest, r"examples.negative\[0\]: id '' has 0 bytes"),
        (
            Examples(("a",), ("b", ModelVector(np.ones(3, np.float32)))),
            DimensionMismatch,
            r"examples.negative\[1\]: a vector of model 'one' has shape \(2,\)",
        ),
        (Examples(("a", "only two")), UnknownItem, r"\[1\]: item 'only two' has no vector"),
        (
            Examples((ModelVector(np.full(2, 3e38, np.float32)),), ("minus",)),
            InvalidRequest,
            "exceed the range of float32",
        ),
    ],
)
def test_an_example_that_cannot_be_searched_is_named(database, examples, error, says):
    database.add("a", one=[1, 2])
    database.add("b", one=[2, 2])
    database.add("only two", two=[1, 2, 3])
    database.add("minus", one=[-3e38, -3e38])
    (answer,) = database.features.find_similar(
        FindRequest([examples, "a"], ("one",), Conditions(2)), CALL
    )
    failed, found = answer.answers
    assert type(failed) is error
    with pytest.raises(error, match=says):
        raise failed
    assert found.ids == ["b", "minus"]
