"""The database against a dict and brute force, over random histories with restarts.

EUCLIDESDB_STATE_EXAMPLES sets how many histories are tried.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from assembled import CALL, Database, no_models
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.stores import copy_of_crashed, vector

from euclidesdb_server.errors import UnknownItem
from euclidesdb_server.types import AddRequest, ModelVector

DIMS = {"flat": 2, "deep": 3}
IDS = st.sampled_from(["a", "b", "c", "d", "e", "é", "x" * 512])
MODELS = st.sampled_from([*DIMS])
SIZES = st.integers(1, 12)
NUMBERS = st.integers(-2, 2)  # whole and few, so that distances tie


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, list[int]]:
    """A vector for one model or for both."""
    models = draw(st.sets(MODELS, min_size=1))
    return {
        name: draw(st.lists(NUMBERS, min_size=dim, max_size=dim))
        for name, dim in DIMS.items()
        if name in models
    }


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, list[int]]:
    model = draw(MODELS)
    return model, draw(st.lists(NUMBERS, min_size=DIMS[model], max_size=DIMS[model]))


@dataclass
class Expected:
    """An item as it should be; written: by model, its vector and the number of that write."""

    attributes_json: str = "{}"
    metadata: bytes = b""
    written: dict[str, tuple[int, list[int]]] = field(default_factory=dict)


class DatabaseMachine(RuleBasedStateMachine):
    """Each rule does to a dict what it does to the database."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="euclidesdb-state-"))
        self.items: dict[str, Expected] = {}
        self.writes = 0
        self.restarts = 0

    @initialize()
    def open(self) -> None:
        models = no_models(self.folder / "models")
        self.database = Database(self.folder / "data", models, DIMS)

    @rule(
        item_id=IDS,
        vectors=vectors(),
        attributes=st.sampled_from([None, "{}", '{"n":1}']),
        metadata=st.sampled_from([None, b"", b"m"]),
    )
    def add(self, item_id, vectors, attributes, metadata) -> None:
        made = {name: ModelVector(vector(*values)) for name, values in vectors.items()}
        request = AddRequest(item_id, vectors=made, attributes_json=attributes, metadata=metadata)
        self.database.features.add(request, CALL)
        self.writes += 1
        item = self.items.setdefault(item_id, Expected())
        item.attributes_json = item.attributes_json if attributes is None else attributes
        item.metadata = item.metadata if metadata is None else metadata
        item.written |= {name: (self.writes, values) for name, values in vectors.items()}

    @rule(item_id=IDS)
    def remove(self, item_id) -> None:
        if item_id in self.items:
            self.database.features.remove(item_id)
            del self.items[item_id]
        else:
            with pytest.raises(UnknownItem):
                self.database.features.remove(item_id)

    @rule(query=queries(), top_k=SIZES)
    def search_by_vector(self, query, top_k) -> None:
        model, values = query
        found = self.database.near(values, model, top_k)
        assert described(found) == self.nearest(model, values)[:top_k]

    @rule(query=queries(), top_k=SIZES, accepted=st.sets(IDS))
    def search_among_some(self, query, top_k, accepted) -> None:
        model, values = query
        found = self.database.near(values, model, top_k, accepts=accepted.__contains__)
        expected = [hit for hit in self.nearest(model, values) if hit[0] in accepted]
        assert described(found) == expected[:top_k]

    @rule(item_id=IDS, model=MODELS, top_k=SIZES, include_self=st.booleans())
    def search_by_id(self, item_id, model, top_k, include_self) -> None:
        item = self.items.get(item_id)
        if item is None or model not in item.written:
            with pytest.raises(UnknownItem):
                self.database.near(item_id, model, top_k)
            return
        found = self.database.near(item_id, model, top_k, include_self=include_self)
        hits = self.nearest(model, item.written[model][1])
        others = [hit for hit in hits if hit[0] != item_id]
        expected = [(item_id, 0.0), *others] if include_self else others
        assert described(found) == expected[:top_k]

    @rule(item_id=IDS)
    def get(self, item_id) -> None:
        if item_id not in self.items:
            with pytest.raises(UnknownItem):
                self.database.get(item_id)
            return
        item, found = self.items[item_id], self.database.get(item_id)
        assert (found.attributes_json, found.metadata) == (item.attributes_json, item.metadata)
        assert self.database.vectors(item_id) == {
            name: values for name, (_, values) in item.written.items()
        }

    @rule()
    def compact(self) -> None:
        self.database.features.compact()
        assert self.database.compactor.wait_idle(60)
        for space in self.database.spaces.values():
            assert space.backlog()[0] == 0

    @rule(crash=st.booleans())
    def restart(self, crash) -> None:
        """After a close, or with the files as they are while the database is open."""
        self.restarts += 1
        before = self.folder / "data"
        after = self.folder / f"data {self.restarts}"
        if crash:
            copy_of_crashed(before, after)
        self.database.close()
        if crash:
            shutil.rmtree(before)
            after.rename(before)
        self.open()

    @invariant()
    def spaces_hold_as_many_rows_as_there_are_vectors(self) -> None:
        for model, space in self.database.spaces.items():
            assert len(space) == sum(model in item.written for item in self.items.values())

    def teardown(self) -> None:
        for model, dim in DIMS.items():
            assert described(self.database.near([0] * dim, model)) == self.nearest(model, [0] * dim)
        self.database.close()
        shutil.rmtree(self.folder)

    def nearest(self, model: str, query: list[int]) -> list[tuple[str, float]]:
        """All items of the model by distance and, at the same one, by age of the vector."""
        hits = sorted(
            (sum((a - b) ** 2 for a, b in zip(values, query, strict=True)), write, item_id)
            for item_id, item in self.items.items()
            if model in item.written
            for write, values in [item.written[model]]
        )
        return [(item_id, math.sqrt(square)) for square, _, item_id in hits]


def described(neighbors) -> list[tuple[str, float]]:
    return [(n.id, pytest.approx(n.distance, rel=1e-6, abs=0)) for n in neighbors]


DatabaseMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("EUCLIDESDB_STATE_EXAMPLES", "30")),
    stateful_step_count=40,
    deadline=None,
    derandomize="EUCLIDESDB_STATE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)


class TestDatabaseState(DatabaseMachine.TestCase):
    """Every history gives what the dict gives."""

    @pytest.mark.timeout(0)
    def runTest(self) -> None:  # noqa: N802  # hypothesis names it
        super().runTest()
