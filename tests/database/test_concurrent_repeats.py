"""A request is repeated while its first attempt is still at work: its key is found under the lock.

Writers of one item are served in the order in which they wait for it. So the first attempt, another
caller's write and the repetition are made to wait one after the other, and then let go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from euclidesdb_server.database.item_import import ImportedEmbedding, ImportedItem
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    ModelVector,
    UpdateRequest,
)
from euclidesdb_server.errors import UnknownItem, WriteInDoubt
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.database.test_writes_in_doubt import waiting_writes
from tests.support.assembled import CALL, EMBEDDERS, Database, no_models, registry_with
from tests.support.failing_sync import FailingSync
from tests.support.stores import vector
from tests.support.waiting import wait_for

KEY = b"the key of a request"
Write = Callable[[Database], Any]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as made:
        made.add("a", one=[0, 0])
        yield made


def request(x: float, key: bytes = KEY, item_id: str = "a") -> AddRequest:
    vectors = {"one": ModelVector(vector(x, 0.0))}
    attributes_json = f'{{"x":{x:.0f}}}'
    return AddRequest(item_id, None, (), vectors, attributes_json, request_key=key)


def add(database: Database) -> Any:
    return database.features.add(request(1.0), CALL)


def add_many(database: Database) -> Any:
    """With another item before it, whose key is of this call alone."""
    other = request(1.0, threading.current_thread().name.encode() * 2, "b")
    return database.features.add_many([other, request(1.0)], CALL)[1]


def add_vectors(database: Database) -> Any:
    columns = VectorColumns([*"ab"], np.array([[1, 0], [1, 0]], np.float32))
    return database.features.add_vectors(AddVectorsRequest("one", columns, request_key=KEY))[0]


def import_items(database: Database) -> Any:
    made = ImportedEmbedding("one", None, vector(1.0, 0.0), ready_made=True)
    return database.features.imports.write([ImportedItem("a", None, None, (made,))], KEY)[0]


def update(database: Database) -> Any:
    return database.features.update(UpdateRequest("a", merge_json='{"x":1}', request_key=KEY))


def remove(database: Database) -> Any:
    return database.features.remove("a", KEY)


def remove_many(database: Database) -> Any:
    return database.features.remove_many(["a"], request_key=KEY).removed


WRITES = [add, add_many, add_vectors, import_items, update, remove, remove_many]


def another(database: Database) -> None:
    """What another caller writes between the two attempts."""
    database.features.add(request(2.0, b""), CALL)


def in_a_thread(write: Write, database: Database) -> tuple[threading.Thread, Future[Any]]:
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(write(database))
        except Exception as error:
            outcome.set_exception(error)

    return threading.Thread(target=run), outcome


def wait_for_waiting(database: Database, count: int) -> None:
    wait_for(lambda: waiting_writes(database) == count, f"{count} writes to wait for the item")


def one_after_the_other(database: Database, *writes: Write) -> list[Future[Any]]:
    """All wait for the item at once, in this order; their outcomes."""
    made = [in_a_thread(write, database) for write in writes]
    with database.features.lock_items(["a"]):
        for count, (thread, _) in enumerate(made, start=1):
            thread.start()
            wait_for_waiting(database, count)
    for thread, _ in made:
        thread.join(60)
    return [outcome for _, outcome in made]


def stored(database: Database) -> float:
    return float(database.vectors("a")["one"][0])


@pytest.mark.parametrize("write", WRITES)
def test_a_repetition_that_waits_for_its_first_attempt_undoes_no_write_in_between(database, write):
    first, between, second = one_after_the_other(database, write, another, write)
    assert between.exception() is None
    assert stored(database) == 2.0
    assert database.get("a").attributes_json == '{"x":2}'
    if write in (add, add_many):
        assert [each.vector.tolist() for each in first.result()] == [[1.0, 0.0]]
        assert [each.vector.tolist() for each in second.result()] == [[2.0, 0.0]]
        assert second.result().change == ItemChange.REPLACED
    elif write is update:
        assert (first.result(), second.result()) == ('{"x":1}', '{"x":2}')
    else:
        assert first.result() == second.result()


@pytest.mark.parametrize("write", WRITES)
def test_two_attempts_at_once_are_one_write(database, write):
    first, second = one_after_the_other(database, write, write)
    if write in (remove, remove_many):
        assert first.result() == second.result()
        with pytest.raises(UnknownItem):
            database.get("a")
        return
    record = database.store.item("a")
    assert record is not None
    label = record.current_label
    write(database)
    record = database.store.item("a")
    assert record is not None
    assert record.current_label == label
    if write in (add, add_many):
        assert [each.vector.tolist() for each in second.result()] == [[1.0, 0.0]]
        assert second.result().change == first.result().change == ItemChange.REPLACED
    else:
        assert first.result() == second.result()


@pytest.mark.parametrize("write", WRITES)
def test_a_repetition_whose_first_attempt_is_in_doubt_finds_what_became_of_it(database, write):
    """The first one fails at its sync, and turns out to be on disk when the store recovers."""
    sync = FailingSync(database.store)
    made = [in_a_thread(each, database) for each in (write, another, write)]
    for position, (thread, _) in enumerate(made):
        thread.start()
        if position == 0:
            assert sync.begun.wait(60)
        else:
            wait_for_waiting(database, position)
    sync.may_fail.set()
    for thread, _ in made:
        thread.join(60)
    first, between, second = (outcome for _, outcome in made)
    failure = first.result() if first.exception() is None else first.exception()
    if write is not remove_many:
        assert isinstance(failure, WriteInDoubt)
    assert between.exception() is None
    assert not isinstance(second.exception(), WriteInDoubt)
    assert stored(database) == 2.0
    assert database.get("a").attributes_json == '{"x":2}'


def test_a_key_that_is_twice_in_one_call_is_applied_once(database):
    first, second = database.features.add_many([request(1.0), request(3.0)], CALL)
    assert stored(database) == 1.0
    for outcome in (first, second):
        assert [each.vector.tolist() for each in outcome] == [[1.0, 0.0]]


class Paused:
    """A model that waits before the first item that it is given. begun: it waits."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed(self, payload: Any, **options: Any) -> Any:
        if not self.begun.is_set():
            self.begun.set()
            assert self.may_go_on.wait(60)
        return self._model.embed(payload, **options)


def test_an_attempt_that_is_overtaken_while_its_model_runs_undoes_nothing(registry, tmp_path):
    """The slow attempt comes first; its repetition, and another caller's add, are done before."""
    gray = Paused(registry.models["gray"])
    with Database(tmp_path, registry_with(registry, gray=gray), EMBEDDERS) as database:
        slow, outcome = in_a_thread(
            lambda database: database.add_image("a", 1, "gray", request_key=KEY), database
        )
        slow.start()
        assert gray.begun.wait(60)
        database.add_image("a", 1, "gray", request_key=KEY)
        (other,) = database.add_image("a", 2, "gray")
        gray.may_go_on.set()
        slow.join(60)
        (answered,) = outcome.result()
        assert answered.vector.tolist() == other.vector.tolist()
        assert database.vectors("a")["gray"] == other.vector.tolist()
        payload = database.get("a").payload
        assert payload is not None
        assert database.ids(payload, "gray") == ["a"]
