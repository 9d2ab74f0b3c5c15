"""Failures of models against a reference, over random histories with restarts, kills and versions.

An item may fail on a model, be tried again, replaced, removed and added anew; a model may change
its mind, and its version. After each step, every state of every item, every count and list by
state, the vectors and the searches are what the reference says.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
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

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.embedding_jobs import EmbeddingJobs, JobRequest
from euclidesdb_server.database.fields import ModelFields
from euclidesdb_server.database.item_queries import ItemQueries
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import (
    AddRequest,
    ListRequest,
    ModelVector,
    UpdateRequest,
)
from euclidesdb_server.database.results import Written
from euclidesdb_server.errors import FailureReason, ModelFailed
from euclidesdb_server.values.filters import AnyOf, Filter, Not
from euclidesdb_server.values.status import EmbeddingState
from tests.support.assembled import CALL, Database
from tests.support.moody import DIM, InProcessModel, features_of, payload_of
from tests.support.stores import copy_of_crashed, vector
from tests.support.waiting import wait_for

MODELS = ("left", "right")
VALUES = st.integers(1, 4)
IDS = st.sampled_from([*"abcdefgh"])
CHOSEN = st.sets(st.sampled_from(MODELS), min_size=1).map(sorted)
REASONS = st.sampled_from([FailureReason.RAISED, FailureReason.CRASHED])
STATES = [*EmbeddingState]
UNFINISHED = [state for state in EmbeddingState if state is not EmbeddingState.DONE]

Version: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Features:
    """Of an item in a version."""

    values: tuple[float, ...]
    ready_made: bool


@dataclass(slots=True)
class Failed:
    """time: None until it has been read; it stays while the failure is repeated."""

    reason: str
    time: int | None = None


@dataclass(slots=True)
class Expected:
    """An item as it should be. value: of its payload; None: it has none."""

    value: int | None = None
    attributes: dict[str, int] = field(default_factory=dict)
    made: dict[Version, Features | Failed] = field(default_factory=dict)


class FailureMachine(RuleBasedStateMachine):
    """Each rule does to a dict what it does to the database, in its own folder."""

    def __init__(self, folder: Path, tally: Counter[str]) -> None:
        super().__init__()
        self.folder = folder
        self.tally = tally
        self.items: dict[str, Expected] = {}
        """In the order in which they were first added."""
        self.failures: dict[str, dict[int, FailureReason]] = {model: {} for model in MODELS}
        self.versions = dict.fromkeys(MODELS, 1)

    @initialize(
        failures=st.fixed_dictionaries(
            {model: st.dictionaries(VALUES, REASONS, min_size=1, max_size=2) for model in MODELS}
        ),
        values=st.lists(VALUES, max_size=8),
    )
    def begin(self, failures, values) -> None:
        """With some items, of which some have failed, mostly."""
        self.folder.mkdir(exist_ok=True)
        self.failures = failures
        self.open()
        self.add_many({"abcdefgh"[n]: (value, [*MODELS]) for n, value in enumerate(values)})

    def open(self) -> None:
        registry: Any = SimpleNamespace(
            models={
                name: InProcessModel(name, self.versions[name], self.failures[name])
                for name in MODELS
            },
            broken={},
        )
        dims = dict.fromkeys(MODELS, DIM)
        self.database = Database(self.folder / "data", registry, dims, column_rows=8)
        self.fields = ModelFields(self.database.models)
        self.queries = ItemQueries(self.database.table, self.fields, limits=ServerConfig())
        self.jobs = EmbeddingJobs(
            self.database.store,
            self.database.models,
            self.database.table,
            self.database.features._features.job_steps,
            lambda _: pytest.fail("there is no filter"),
        )

    def close(self) -> None:
        self.jobs.close()
        self.database.close()

    @rule(model=st.sampled_from(MODELS), value=VALUES, reason=st.one_of(st.none(), REASONS))
    def change_mind(self, model, value, reason) -> None:
        """A model fails on other items from now on, or no longer, or in another way."""
        self.failures[model].pop(value, None)
        if reason is not None:
            self.failures[model][value] = reason

    @rule(item_id=IDS, value=VALUES, models=CHOSEN, all_or_nothing=st.booleans())
    def add(self, item_id, value, models, all_or_nothing) -> None:
        request = AddRequest(
            item_id, payload_of(value), tuple(models), all_or_nothing=all_or_nothing
        )
        item = self.items.get(item_id, Expected())
        fails = any(
            value in self.failures[model] and not self.is_known(item, value, model)
            for model in models
        )
        if fails and all_or_nothing:
            self.tally["refused"] += 1
            with pytest.raises(ModelFailed):
                self.database.features.add(request, CALL)
            return
        self.check_written(self.database.features.add(request, CALL), item_id, value, models)

    @rule(added=st.dictionaries(IDS, st.tuples(VALUES, CHOSEN), max_size=5))
    def add_many(self, added) -> None:
        requests = [
            AddRequest(item_id, payload_of(value), tuple(models))
            for item_id, (value, models) in added.items()
        ]
        outcomes = self.database.features.add_many(requests, CALL)
        for outcome, (item_id, (value, models)) in zip(outcomes, added.items(), strict=True):
            assert isinstance(outcome, Written)
            self.check_written(outcome, item_id, value, models)

    @rule(item_id=IDS, model=st.sampled_from(MODELS), values=st.tuples(VALUES, VALUES))
    def add_ready_made(self, item_id, model, values) -> None:
        """A vector that was not made from the payload takes the place of a failure."""
        vectors = {model: ModelVector(vector(*values))}
        self.database.features.add(AddRequest(item_id, vectors=vectors), CALL)
        item = self.items.setdefault(item_id, Expected())
        made = Features((float(values[0]), float(values[1])), ready_made=True)
        item.made[model, self.versions[model]] = made

    @rule(item_id=IDS, number=st.integers(0, 2))
    def update(self, item_id, number) -> None:
        if item_id in self.items:
            self.database.features.update(
                UpdateRequest(item_id, merge_json=json.dumps({"n": number}))
            )
            self.items[item_id].attributes["n"] = number

    @rule(ids=st.sets(IDS, max_size=3).map(sorted))
    def remove(self, ids) -> None:
        self.database.features.remove_many(ids)
        for item_id in ids:
            self.items.pop(item_id, None)

    @rule(
        model=st.sampled_from(MODELS),
        states=st.sets(st.sampled_from(UNFINISHED), min_size=1).map(sorted),
        restarts=st.booleans(),
    )
    @precondition(lambda self: self.items)
    def embed(self, model, states, restarts) -> None:
        """A job over the items in some states; it may go on after a restart."""
        self.embed_all(model, states, restarts=restarts)

    def embed_all(
        self, model: str, states: Sequence[EmbeddingState], *, restarts: bool = False
    ) -> None:
        number = self.jobs.start(JobRequest(model, states)).record.number
        if restarts:
            self.restart()
        wait_for(lambda: self.jobs.get(number).record.state != "running", "the job is over")
        done = failed = skipped = 0
        for item in self.items.values():
            if self.state(item, model) not in states:
                continue
            if item.value is None:
                skipped += 1
            else:
                self.make(item, model)
                done += isinstance(item.made[model, self.versions[model]], Features)
                failed += isinstance(item.made[model, self.versions[model]], Failed)
        record = self.jobs.get(number).record
        assert (record.state, record.done, record.failed) == ("succeeded", done, failed)
        assert record.skipped == ({"no_payload": skipped} if skipped else {})
        self.tally["embedded"] += done
        self.tally["retried"] += done * (EmbeddingState.FAILED in states)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    @rule(model=st.sampled_from(MODELS), version=st.integers(1, 3))
    def serve_version(self, model, version) -> None:
        """Another version, or one that was served before, with its vectors and failures."""
        self.close()
        self.versions[model] = version
        self.open()

    @rule(model=st.sampled_from(MODELS), value=VALUES, reason=REASONS)
    def replace_version(self, model, value, reason) -> None:
        """The next version runs over the items of the one before, and fails on some."""
        self.serve_version(model, self.versions[model] % 3 + 1)
        self.change_mind(model, value, reason)
        self.embed_all(model, UNFINISHED)

    @rule(model=st.sampled_from(MODELS))
    def mend(self, model) -> None:
        """The model fails no more, and is tried again on what it has failed on."""
        self.failures[model].clear()
        self.embed_all(model, [EmbeddingState.FAILED])

    @rule()
    def kill(self) -> None:
        """Go on with the files as they are."""
        data, crashed = self.folder / "data", self.folder / "crashed"
        copy_of_crashed(data, crashed)
        self.close()
        shutil.rmtree(data)
        crashed.rename(data)
        self.open()
        self.tally["kills"] += 1

    @invariant()
    def items_are_as_expected(self) -> None:
        self.tally["steps"] += 1
        include = Include(vectors=True, payload=True, states=True)
        ids = [*self.items]
        for item_id, found in zip(
            ids, self.database.features.get_many(ids, include, CALL), strict=True
        ):
            item: Any = found
            expected = self.items[item_id]
            value = None if expected.value is None else payload_of(expected.value)
            assert item.payload == value
            assert json.loads(item.attributes_json) == expected.attributes
            vectors = {
                (each.model, int(each.fingerprint.removeprefix("version "))): each.vector.tolist()
                for each in item.embeddings
            }
            assert vectors == {
                version: [*made.values]
                for version, made in expected.made.items()
                if isinstance(made, Features)
            }
            states = {each.model: each for each in item.states}
            for model in MODELS:
                self.check_state(expected, model, states.get(model))

    @invariant()
    def counts_and_lists_are_as_expected(self) -> None:
        for model in MODELS:
            for state in STATES:
                expected = [
                    item_id for item_id, item in self.items.items()
                    if self.state(item, model) is state
                ]  # fmt: skip
                self.check_list(self.fields.state(model, state), expected)
        failed = [
            item_id
            for item_id, item in self.items.items()
            if any(self.state(item, model) is EmbeddingState.FAILED for model in MODELS)
        ]
        only_failed = self.fields.state("", EmbeddingState.FAILED)
        self.check_list(only_failed, failed)
        self.check_list(Not(only_failed), [each for each in self.items if each not in failed])
        unfinished = AnyOf(tuple(self.fields.state("left", state) for state in UNFINISHED))
        self.check_list(
            unfinished,
            [each for each, item in self.items.items() if self.state(item, "left") in UNFINISHED],
        )

    @invariant()
    def searches_find_what_has_features_and_nothing_else(self) -> None:
        for model, space in self.database.spaces.items():
            version = model, self.versions[model]
            made = {
                item_id: features.values
                for item_id, item in self.items.items()
                if isinstance(features := item.made.get(version), Features)
            }
            assert len(space) == len(made)
            found = self.database.near([0.0, 0.0], model)
            assert {each.id: each.distance for each in found} == {
                item_id: pytest.approx(float(np.linalg.norm(values)), rel=1e-6)
                for item_id, values in made.items()
            }

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.close()
            shutil.rmtree(self.folder)

    def is_known(self, item: Expected, value: int, model: str) -> bool:
        """Whether there are features of this very payload, so that the model is not run."""
        made = item.made.get((model, self.versions[model]))
        return item.value == value and isinstance(made, Features) and not made.ready_made

    def make(self, item: Expected, model: str) -> None:
        """Run the model on the payload of the item."""
        assert item.value is not None
        version = model, self.versions[model]
        reason = self.failures[model].get(item.value)
        before = item.made.get(version)
        if reason is None:
            item.made[version] = Features(
                tuple(features_of(item.value, self.versions[model])), ready_made=False
            )
        elif not (isinstance(before, Failed) and before.reason == reason.value):
            item.made[version] = Failed(reason.value)

    def check_written(self, written: Written, item_id: str, value: int, models: list[str]) -> None:
        """Expect the item as an add leaves it, and the reply to say so."""
        item = self.items.setdefault(item_id, Expected())
        if item.value != value:
            item.value = value
            item.made = {
                version: made
                for version, made in item.made.items()
                if isinstance(made, Features) and made.ready_made
            }
        for model in models:
            if not self.is_known(item, value, model):
                self.make(item, model)
        now = {model: item.made[model, self.versions[model]] for model in models}
        assert {each.model: each.vector.tolist() for each in written} == {
            model: [*made.values] for model, made in now.items() if isinstance(made, Features)
        }
        assert {each.model: each.failure.reason for each in written.failures} == {
            model: made.reason for model, made in now.items() if isinstance(made, Failed)
        }

    def state(self, item: Expected, model: str) -> EmbeddingState:
        made = item.made.get((model, self.versions[model]))
        if isinstance(made, Features):
            return EmbeddingState.DONE
        if isinstance(made, Failed):
            return EmbeddingState.FAILED
        others = (each for (name, _), each in item.made.items() if name == model)
        if any(isinstance(each, Features) for each in others):
            return EmbeddingState.SUPERSEDED
        return EmbeddingState.MISSING

    def check_state(self, expected: Expected, model: str, found: Any) -> None:
        """found: None: the item has nothing of the model."""
        state = self.state(expected, model)
        self.tally[state] += 1
        if state is EmbeddingState.MISSING:
            assert found is None
            return
        assert found.state is state
        assert found.fingerprint == f"version {self.versions[model]}"
        made = expected.made.get((model, self.versions[model]))
        if isinstance(made, Failed):
            assert found.failure.reason == made.reason
            assert found.failure.message == f"it does not like {expected.value}"
            assert made.time in (None, found.failure.time), "the time of the first failure stays"
            made.time = found.failure.time
        else:
            assert found.failure is None

    def check_list(self, condition: Filter, expected: list[str]) -> None:
        """In the order in which items were added, by small pages."""
        assert self.queries.count(condition, CALL) == len(expected)
        found: list[str] = []
        token = ""
        while True:
            page = self.queries.page(ListRequest(condition, page_size=3, page_token=token), CALL)
            found += page.ids
            token = page.next_token
            if not token:
                break
        assert found == expected


def run_histories(folder: Path, *, histories: int, steps: int) -> Counter[str]:
    tally = Counter[str]()

    def machine() -> FailureMachine:
        return FailureMachine(folder / "database", tally)

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
    print(dict(tally))
    wanted = (*STATES, "refused", "embedded", "retried", "kills")
    assert all(tally[each] for each in wanted), "this proves little"
    return tally


def test_failures_agree_with_a_reference(tmp_path):
    run_histories(tmp_path, histories=20, steps=40)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_ten_thousand_steps_of_failures_agree_with_a_reference(tmp_path):
    assert run_histories(tmp_path, histories=140, steps=100)["steps"] >= 10_000
