"""The database against a dict and brute force, over random histories with restarts and kills.

`exact` and `exact_disk` must agree in ids and order: rows at the same distance come in order of
age, and whole numbers make many of them. The others must find what their options promise, and
nothing that is not there, at its true distance.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import (
    AddRequest,
    Conditions,
    FindRequest,
    ModelVector,
    ModelVectors,
    UpdateRequest,
)
from euclidesdb_server.database.results import Neighbors
from euclidesdb_server.engines.registry import create_engine
from euclidesdb_server.errors import InvalidRequest, UnknownItem
from euclidesdb_server.store.layout import STORE_FOLDER
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from tests.support.assembled import CALL, Database, no_models
from tests.support.leveldb_logs import newest_log
from tests.support.stores import copy_of_crashed, vector, write_labels

DIMS = {"flat": 2, "deep": 3}
NAMES = ["a", "b", "c", "é", "x" * 512]
IDS = st.one_of(
    st.sampled_from(NAMES),
    st.integers(0, 199).map(lambda number: f"{number}" if number % 2 else f"item {number}"),
)
MODELS = st.sampled_from([*DIMS])
SIZES = st.one_of(st.integers(1, 12), st.just(500))
NUMBERS = st.integers(-2, 2)  # whole and few, so that distances tie
LIMITS = st.sampled_from([None, None, 0.0, 1.0, 2.5])
UNUSABLE = math.nan
LARGE = bytes(range(256)) * 4
"""Metadata: a small write buffer of LevelDB is soon full of it."""
SMALL, DEFAULT = 64 << 10, WRITE_BUFFER_BYTES
"""Sizes of the write buffer."""

Numbers: TypeAlias = list[float]
Hit: TypeAlias = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Setting:
    """A search engine. recall: the least share of the true nearest; 1.0: all, and in order."""

    engine: str
    options: dict[str, str] = field(default_factory=dict)
    recall: float = 1.0


SETTINGS = {
    "exact": Setting("exact"),
    "exact_disk": Setting("exact_disk"),
    "HNSW32": Setting("faiss", {"index_type": "HNSW32"}, recall=0.99),
    "IVF4,Flat": Setting("faiss", {"index_type": "IVF4,Flat"}, recall=0.7),
    "annoy": Setting("annoy", {"metric": "l2"}, recall=0.9),
}


@dataclass
class Tally:
    """What all histories of a test came to."""

    steps: int = 0
    restarts: int = 0
    kills: int = 0
    segments: set[str] = field(default_factory=set)
    rewrites: Counter[str] = field(default_factory=Counter)
    full_buffers: int = 0
    hits: int = 0
    found: int = 0
    wanted: int = 0

    def recall(self) -> float:
        return self.found / self.wanted if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class Expected:
    """An item as it should be; written: by model, its vector and the number of that write."""

    attributes_json: str = "{}"
    metadata: bytes = b""
    written: dict[str, tuple[int, Numbers]] = field(default_factory=dict)


def numbers_of(model: str) -> st.SearchStrategy[Numbers]:
    dim = DIMS[model]
    return st.lists(NUMBERS.map(float), min_size=dim, max_size=dim)


@st.composite
def additions(draw: st.DrawFn) -> AddRequest:
    """A vector for one model or for both."""
    models = draw(st.sets(MODELS, min_size=1))
    return AddRequest(
        draw(IDS),
        vectors={
            model: ModelVector(vector(*draw(numbers_of(model))))
            for model in DIMS
            if model in models
        },
        attributes_json=draw(st.sampled_from([None, "{}", '{"n":1}'])),
        metadata=draw(st.sampled_from([None, b"", b"m", LARGE])),
    )


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, Numbers]:
    model = draw(MODELS)
    return model, draw(numbers_of(model))


@st.composite
def columns(draw: st.DrawFn) -> tuple[str, list[str], list[Numbers]]:
    """Ids and vectors of one model: a few that may be unusable or the same, or a whole block."""
    model = draw(MODELS)
    if draw(st.booleans()):
        start, count, seed = draw(st.tuples(st.integers(0, 150), st.integers(1, 50), st.integers()))
        values = np.random.default_rng(abs(seed)).integers(-2, 3, (count, DIMS[model]))
        return model, [f"item {start + row}" for row in range(count)], values.tolist()
    unusable = st.just([UNUSABLE] * DIMS[model])
    rows = draw(
        st.lists(
            st.tuples(IDS, st.one_of(numbers_of(model), numbers_of(model), unusable)), max_size=6
        )
    )
    return model, [item_id for item_id, _ in rows], [values for _, values in rows]


class DatabaseMachine(RuleBasedStateMachine):
    """Each rule does to a dict what it does to the database, in its own folder."""

    def __init__(
        self, folder: Path, setting: Setting, tally: Tally, write_buffer_bytes: int
    ) -> None:
        super().__init__()
        self.folder = folder
        self.setting = setting
        self.tally = tally
        self.write_buffer_bytes = write_buffer_bytes
        self.items: dict[str, Expected] = {}
        self.labels: dict[str, tuple[int, int]] = {}
        self.writes = 0

    @initialize(count=st.sampled_from([40, 0, 7]))
    def begin(self, count) -> None:
        """With some items, mostly, so that a short history has something to find and to rewrite."""
        self.open()
        for model, dim in DIMS.items():
            ids = [f"item {number}" for number in range(count)]
            values = np.random.default_rng(count).integers(-2, 3, (count, dim))
            self.add_vectors_of(model, ids, values.tolist(), LARGE)

    def open(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.database = Database(
            self.folder / "data",
            no_models(self.folder / "models"),
            DIMS,
            engine=create_engine(self.setting.engine, self.setting.options, file=None),
            index=IndexConfig(compact_rows=8, merge_factor=2, idle_seconds=0.5),
            write_buffer_bytes=self.write_buffer_bytes,
        )
        self.first_log = newest_log(self.leveldb)

    def close(self) -> None:
        self.tally.full_buffers += newest_log(self.leveldb) > self.first_log
        self.database.close()

    @property
    def leveldb(self) -> Path:
        return self.folder / "data" / STORE_FOLDER

    @rule(request=additions())
    def add(self, request) -> None:
        self.database.features.add(request, CALL)
        self.expect(request)

    @rule(
        requests=st.lists(
            st.one_of(additions(), additions(), st.just(AddRequest("empty"))), max_size=6
        )
    )
    def add_many(self, requests) -> None:
        outcomes = self.database.features.add_many(requests, CALL)
        assert len(outcomes) == len(requests)
        for request, outcome in zip(requests, outcomes, strict=True):
            assert isinstance(outcome, InvalidRequest) == (not request.vectors)
            if request.vectors:
                self.expect(request)

    @rule(columns=columns(), metadata=st.sampled_from([None, b"c"]))
    def add_vectors(self, columns, metadata) -> None:
        model, ids, vectors = columns
        self.add_vectors_of(model, ids, vectors, metadata)

    def add_vectors_of(
        self, model: str, ids: list[str], vectors: list[Numbers], metadata: bytes | None
    ) -> None:
        values = np.array(vectors, np.float32).reshape(len(ids), DIMS[model])
        texts = {} if metadata is None else {"metadata": [metadata] * len(ids)}
        refused = self.database.add_vectors(model, ids, values, **texts)
        unusable = [row for row, numbers in enumerate(vectors) if UNUSABLE in numbers]
        assert [*refused] == unusable
        for item_id, numbers in zip(ids, vectors, strict=True):
            if UNUSABLE not in numbers:
                made = {model: ModelVector(vector(*numbers))}
                self.expect(AddRequest(item_id, vectors=made, metadata=metadata))

    @rule(data=st.data())
    @precondition(lambda self: self.items)
    def update(self, data) -> None:
        item_id = data.draw(st.sampled_from(sorted(self.items)))
        self.add(replace(data.draw(additions()), id=item_id))

    @rule(data=st.data())
    @precondition(lambda self: self.items)
    def remove(self, data) -> None:
        item_id = data.draw(st.sampled_from(sorted(self.items)))
        self.database.features.remove(item_id)
        del self.items[item_id]
        self.labels.pop(item_id, None)

    @rule(data=st.data(), metadata=st.sampled_from([None, b"changed", LARGE]))
    @precondition(lambda self: self.items)
    def change(self, data, metadata) -> None:
        """Attributes and metadata without a vector."""
        item_id = data.draw(st.sampled_from(sorted(self.items)))
        item = self.items[item_id]
        merge = data.draw(st.sampled_from(['{"n":1}', '{"n":2}', '{"n":null}', "{}"]))
        request = UpdateRequest(item_id, merge_json=merge, metadata=metadata)
        attributes_json = self.database.features.update(request)
        expected = json.loads(item.attributes_json) | json.loads(merge)
        assert json.loads(attributes_json) == {
            name: value for name, value in expected.items() if value is not None
        }
        self.items[item_id] = replace(
            item,
            attributes_json=attributes_json,
            metadata=item.metadata if metadata is None else metadata,
        )

    @rule(ids=st.lists(IDS, min_size=1, max_size=8), dry_run=st.booleans())
    def remove_many(self, ids, dry_run) -> None:
        removal = self.database.features.remove_many(ids, dry_run=dry_run)
        assert removal.errors == {}
        assert removal.removed == len(self.items.keys() & ids)
        assert [*removal.missing] == [
            row for row, item_id in enumerate(ids) if item_id not in self.items
        ]
        for item_id in () if dry_run else self.items.keys() & ids:
            del self.items[item_id]
            self.labels.pop(item_id, None)

    @rule(ids=st.lists(IDS, min_size=1, max_size=8))
    def get_many(self, ids) -> None:
        found = self.database.features.get_many(ids, Include(), CALL)
        assert [each and (each.attributes_json, each.metadata) for each in found] == [
            (item := self.items.get(each)) and (item.attributes_json, item.metadata) for each in ids
        ]

    @rule(item_id=IDS)
    def remove_or_not(self, item_id) -> None:
        if item_id in self.items:
            return
        with pytest.raises(UnknownItem):
            self.database.features.remove(item_id)

    @rule(query=queries(), top_k=SIZES, limit=LIMITS)
    def search_by_vector(self, query, top_k, limit) -> None:
        model, values = query
        conditions = Conditions(top_k, max_distance=limit)
        self.check(self.find([vector(*values)], model, conditions)[0], model, values, conditions)

    @rule(query=queries(), top_k=SIZES)
    def search_among_int32_ids(self, query, top_k) -> None:
        model, values = query
        conditions = Conditions(top_k, int32_ids=True)
        self.check(self.find([vector(*values)], model, conditions)[0], model, values, conditions)

    @rule(item_id=IDS, model=MODELS, top_k=SIZES, limit=LIMITS, include_self=st.booleans())
    def search_by_id(self, item_id, model, top_k, limit, include_self) -> None:
        conditions = Conditions(top_k, include_self=include_self, max_distance=limit)
        self.check(self.find([item_id], model, conditions)[0], model, item_id, conditions)

    @rule(data=st.data(), model=MODELS, top_k=SIZES, limit=LIMITS, include_self=st.booleans())
    def search_in_batch(self, data, model, top_k, limit, include_self) -> None:
        asked = data.draw(st.lists(st.one_of(IDS, numbers_of(model)), min_size=1, max_size=5))
        conditions = Conditions(
            top_k,
            include_self=include_self,
            include_attributes=True,
            include_metadata=True,
            max_distance=limit,
        )
        queries = [vector(*each) if isinstance(each, list) else each for each in asked]
        for query, found in zip(asked, self.find(queries, model, conditions), strict=True):
            self.check(found, model, query, conditions)

    @rule(data=st.data(), model=MODELS, top_k=SIZES, limit=LIMITS)
    def search_by_columns(self, data, model, top_k, limit) -> None:
        unusable = st.just([UNUSABLE] * DIMS[model])
        asked = data.draw(st.lists(st.one_of(numbers_of(model), unusable), min_size=1, max_size=5))
        conditions = Conditions(top_k, max_distance=limit)
        request = FindRequest(ModelVectors(np.array(asked, np.float32)), (model,), conditions)
        (answer,) = self.database.features.find_similar(request, CALL)
        for query, found in zip(asked, answer.answers, strict=True):
            if UNUSABLE in query:
                assert isinstance(found, InvalidRequest)
            else:
                self.check(found, model, query, conditions)

    @rule(item_id=IDS)
    def get(self, item_id) -> None:
        if item_id not in self.items:
            with pytest.raises(UnknownItem):
                self.database.get(item_id)
            return
        item, found = self.items[item_id], self.database.get(item_id)
        assert (found.attributes_json, found.metadata) == (item.attributes_json, item.metadata)
        assert self.database.vectors(item_id) == {
            model: values for model, (_, values) in item.written.items()
        }

    @rule()
    def compact_in_the_background(self) -> None:
        self.database.features.compact()

    @rule()
    def compact(self) -> None:
        self.database.features.compact()
        assert self.database.compactor.wait_idle(60)
        for space in self.database.spaces.values():
            assert space.backlog()[0] == 0
            self.tally.segments.add(space.status().description)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()
        self.check_labels()
        self.tally.restarts += 1

    @rule()
    def kill(self) -> None:
        """Go on with the files as they are, whatever is under way."""
        data, crashed = self.folder / "data", self.folder / "crashed"
        copy_of_crashed(data, crashed)
        self.close()
        shutil.rmtree(data)
        crashed.rename(data)
        self.open()
        self.check_labels()
        self.tally.kills += 1

    @invariant()
    def spaces_hold_as_many_rows_as_there_are_vectors(self) -> None:
        self.tally.steps += 1
        for model, space in self.database.spaces.items():
            assert len(space) == sum(model in item.written for item in self.items.values())

    def teardown(self) -> None:
        if not hasattr(self, "database"):
            return
        try:
            for item_id in self.items:
                self.get(item_id)
            self.check_labels()
            for model, dim in DIMS.items():
                origin, all_there_is = [0.0] * dim, Conditions(1000)
                (found,) = self.find([vector(*origin)], model, all_there_is)
                self.check(found, model, origin, all_there_is)
        finally:
            self.close()
            shutil.rmtree(self.folder)

    def check_labels(self) -> None:
        """Each item has a current label, which only grows; its first stays."""
        labels = write_labels(self.database.store)
        assert labels.keys() == self.items.keys()
        for item_id, (first, current) in self.labels.items():
            assert labels[item_id][0] == first
            assert labels[item_id][1] >= current
        self.labels = labels

    def expect(self, request: AddRequest) -> None:
        """The item as the request leaves it."""
        self.writes += 1
        item = self.items.get(request.id, Expected())
        made = {
            model: (self.writes, made.values.tolist())
            for model, made in request.vectors.items()
            # one that is stored already is not written again, and keeps its age
            if model not in item.written or item.written[model][1] != made.values.tolist()
        }
        self.items[request.id] = Expected(
            item.attributes_json if request.attributes_json is None else request.attributes_json,
            item.metadata if request.metadata is None else request.metadata,
            item.written | made,
        )

    def find(
        self, queries: Sequence[Any], model: str, conditions: Conditions
    ) -> Sequence[Neighbors | Exception]:
        asked = [each if isinstance(each, str) else ModelVector(each) for each in queries]
        request = FindRequest(asked, (model,), conditions)
        (answer,) = self.database.features.find_similar(request, CALL)
        return answer.answers

    def check(
        self,
        found: Neighbors | Exception,
        model: str,
        query: str | Numbers,
        conditions: Conditions,
    ) -> None:
        """Hold an answer against brute force. query: a vector, or a stored item's id."""
        if isinstance(query, str):
            item = self.items.get(query)
            if item is None or model not in item.written:
                assert isinstance(found, UnknownItem)
                return
        assert isinstance(found, Neighbors)
        expected = self.acceptable(model, query, conditions)
        hits = [*zip(found.ids, found.distances, strict=True)]
        self.tally.hits += len(hits)
        if self.setting.recall == 1.0:
            assert hits == [approximately(hit) for hit in expected[: conditions.top_k]]
        else:
            self.check_approximate(hits, expected, conditions)
        if conditions.include_attributes:
            assert found.attributes_json == [self.items[each].attributes_json for each in found.ids]
        if conditions.include_metadata:
            assert found.metadata == [self.items[each].metadata for each in found.ids]

    def check_approximate(
        self, hits: list[Hit], expected: list[Hit], conditions: Conditions
    ) -> None:
        distances = dict(expected)
        assert len({item_id for item_id, _ in hits}) == len(hits)
        assert [far for _, far in hits] == sorted(far for _, far in hits)
        assert hits == [approximately((item_id, distances[item_id])) for item_id, _ in hits]
        nearest = expected[: conditions.top_k]
        if conditions.max_distance is None:
            assert len(hits) == len(nearest)
        if nearest:
            # by distance: any of those that tie with the last is as good
            self.tally.found += sum(far <= nearest[-1][1] * (1 + 1e-6) for _, far in hits)
            self.tally.wanted += len(nearest)

    def acceptable(self, model: str, query: str | Numbers, conditions: Conditions) -> list[Hit]:
        """Every item that may be in an answer, as near and in the order that it should have."""
        values = self.items[query].written[model][1] if isinstance(query, str) else query
        hits = [hit for hit in self.nearest(model, values) if hit[0] != query]
        if isinstance(query, str) and conditions.include_self:
            hits = [(query, 0.0), *hits]
        if conditions.max_distance is not None:
            hits = [hit for hit in hits if hit[1] <= conditions.max_distance]
        if conditions.int32_ids:
            hits = [hit for hit in hits if hit[0].isdecimal()]
        return hits

    def nearest(self, model: str, query: Numbers) -> list[Hit]:
        """All items of the model by distance and, at the same one, by age of the vector."""
        hits = sorted(
            (sum((a - b) ** 2 for a, b in zip(values, query, strict=True)), write, item_id)
            for item_id, item in self.items.items()
            if model in item.written
            for write, values in [item.written[model]]
        )
        return [(item_id, math.sqrt(square)) for square, _, item_id in hits]


def approximately(hit: Hit) -> tuple[str, object]:
    return hit[0], pytest.approx(hit[1], rel=1e-6, abs=0)


def run_histories(
    folder: Path,
    setting: Setting,
    *,
    write_buffer_bytes: int,
    histories: int,
    steps: int,
    kind: type[DatabaseMachine] = DatabaseMachine,
) -> Tally:
    tally = Tally()

    def machine() -> DatabaseMachine:
        return kind(folder / "database", setting, tally, write_buffer_bytes)

    factory: Any = machine  # the annotation in hypothesis is narrower than its documentation
    run_state_machine_as_test(
        factory,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
    print(f"{tally}, recall {tally.recall():.4f}")
    assert tally.recall() >= setting.recall
    assert (tally.full_buffers > 0) == (write_buffer_bytes == SMALL)
    assert tally.hits, "nothing was ever found: this proves nothing"
    return tally


@pytest.mark.parametrize(
    ("name", "write_buffer_bytes"), [*zip(SETTINGS, cycle([SMALL, DEFAULT]), strict=False)]
)
def test_the_database_agrees_with_a_dict_and_brute_force(tmp_path, name, write_buffer_bytes):
    run_histories(
        tmp_path,
        SETTINGS[name],
        write_buffer_bytes=write_buffer_bytes,
        histories=2,
        steps=40,
    )


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("write_buffer_bytes", [SMALL, DEFAULT])
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_thousand_steps_agree_with_a_dict_and_brute_force(
    tmp_path, name, write_buffer_bytes
):
    tally = run_histories(
        tmp_path,
        SETTINGS[name],
        write_buffer_bytes=write_buffer_bytes,
        histories=140,
        steps=200,
    )
    assert tally.steps >= 20_000
    assert SETTINGS[name].options.get("index_type") in {None, *tally.segments}
