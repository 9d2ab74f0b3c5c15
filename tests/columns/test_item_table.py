"""The table of items follows every write, through blocks, files, merges and restarts."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from euclidesdb_server.columns import item_table, loading
from euclidesdb_server.columns.block import Block, BlockFilter
from euclidesdb_server.columns.evaluation import matching
from euclidesdb_server.columns.item_table import ItemTable
from euclidesdb_server.columns.ordering import Ordering
from euclidesdb_server.columns.table_view import Selection, TableView
from euclidesdb_server.store import ColumnsWrite, FeatureStore, ItemRecord, ItemWrite
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.filters import (
    All,
    Attribute,
    Comparison,
    Contains,
    Exists,
    Not,
    OneOf,
    Operator,
    Prediction,
)
from euclidesdb_server.values.filters import PredictionValue as Value
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.stores import embedding, vector
from tests.support.waiting import wait_for

SPACE = 1
IDS = [f"item-{number}" for number in range(12)]
FLUSH_ROWS = 8


def no_stop() -> None:
    pass


class Items:
    """A store with a table of its items, and what must be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FeatureStore(folder / "leveldb")
        if not self.store.spaces():
            self.store.open_space("m", "f", 2)
        self.table = ItemTable(self.store, folder / "columns", flush_rows=FLUSH_ROWS)

    def close(self) -> None:
        self.table.close()
        self.store.close()

    def write(
        self,
        item_id: str,
        attributes: dict[str, Any],
        found: Embedding | None = None,
        *,
        ready_made: bool = False,
    ) -> None:
        before = self.store.item(item_id)
        kept = before or ItemRecord()
        ready_made_in = frozenset([SPACE]) if ready_made else kept.ready_made
        embeddings = {} if found is None else {SPACE: found}
        with self.store.labels.allocate() as (label,):
            labels = {**kept.labels, **dict.fromkeys(embeddings, label)}
            after = ItemRecord(
                json.dumps(attributes), b"", labels, ready_made=ready_made_in
            ).with_labels(current=label, first=kept.first_label or label)
            write = ItemWrite(item_id, label, before, after, embeddings, None)
            self.store.write(write)
            self.table.publish(self.table.prepare([write]))

    def write_columns(self, ids: list[str], attributes: list[dict[str, Any]] | None) -> None:
        texts = None if attributes is None else [*map(json.dumps, attributes)]
        columns = VectorColumns(ids, np.ones((len(ids), 2), np.float32), texts, None)
        with self.store.labels.allocate(len(ids)) as labels:
            write = ColumnsWrite(SPACE, labels, columns)
            self.store.write(columns=write)
            self.table.publish([], write)

    def remove(self, item_id: str) -> None:
        record = self.store.item(item_id)
        assert record is not None
        self.store.remove((item_id, record))
        self.table.delete([record])

    def view(self) -> TableView:
        return self.table.view(no_stop)


def ids_of(selection: Selection) -> list[str]:
    return selection.ids(np.arange(len(selection)))


def attribute_of(selection: Selection, path: str) -> dict[str, Any]:
    """The ints of a path, by id."""
    found: dict[str, Any] = {}
    for (block, rows), values in zip(
        selection.parts, selection.values(Attribute(path)), strict=True
    ):
        ints = [None] * len(rows) if values.ints is None else values.ints.to_pylist()
        found |= zip(block.ids(rows), ints, strict=True)
    return found


@pytest.fixture
def items(tmp_path: Path) -> Iterator[Items]:
    opened = Items(tmp_path)
    yield opened
    opened.close()


def reopened(items: Items) -> Items:
    items.close()
    return Items(items.folder)


class TableMachine(RuleBasedStateMachine):
    """Any order of writes, removals and restarts."""

    folder: Path
    runs = 0

    @initialize()
    def start(self) -> None:
        TableMachine.runs += 1
        self.items = Items(self.folder / str(TableMachine.runs))
        self.expected: dict[str, int] = {}
        self.added: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "items"):
            self.items.close()

    def note(self, item_id: str, number: int) -> None:
        if item_id not in self.expected:
            self.added.append(item_id)
        self.expected[item_id] = number

    @rule(item_id=st.sampled_from(IDS), number=st.integers(0, 5), embeds=st.booleans())
    def write(self, item_id: str, number: int, *, embeds: bool) -> None:
        found = embedding(1, 2, predictions=vector(0.2, 0.8)) if embeds else None
        self.items.write(item_id, {"n": number}, found)
        self.note(item_id, number)

    @rule(ids=st.lists(st.sampled_from(IDS), unique=True), number=st.integers(0, 5))
    def write_columns(self, ids: list[str], number: int) -> None:
        new = [item_id for item_id in ids if item_id not in self.expected]
        if new:
            self.items.write_columns(new, [{"n": number}] * len(new))
            for item_id in new:
                self.note(item_id, number)

    @rule(item_id=st.sampled_from(IDS))
    def remove(self, item_id: str) -> None:
        if item_id in self.expected:
            self.items.remove(item_id)
            del self.expected[item_id]
            self.added.remove(item_id)

    @rule()
    def reopen(self) -> None:
        self.items = reopened(self.items)

    @rule(number=st.integers(0, 5))
    def look(self, number: int) -> None:
        view = self.items.view()
        everything = view.select(None, no_stop)
        assert attribute_of(everything, "n") == self.expected
        numbers, last = Ordering().page(everything, len(IDS) + 1, None)
        assert last is None
        assert everything.ids(numbers) == self.added
        some = view.select(Comparison(Attribute("n"), Operator.LESS, number), no_stop)
        assert sorted(ids_of(some)) == sorted(
            item_id for item_id, found in self.expected.items() if found < number
        )


def test_the_table_follows_any_order_of_writes_and_restarts(tmp_path):
    TableMachine.folder = tmp_path
    run_state_machine_as_test(
        TableMachine, settings=settings(max_examples=15, stateful_step_count=40, deadline=None)
    )


def test_flushed_rows_are_read_from_files_after_a_restart(items):
    for number in range(3 * FLUSH_ROWS):
        items.write(f"item-{number}", {"n": number})
    wait_for(lambda: items.store.columns().files, "a file of columns")
    items.remove("item-0")
    items.write("item-1", {"n": 100})
    items = reopened(items)
    found = attribute_of(items.view().select(None, no_stop), "n")
    assert found == {f"item-{number}": number for number in range(2, 24)} | {"item-1": 100}
    items.close()


def test_a_damaged_file_is_made_again_from_the_store(items):
    for number in range(2 * FLUSH_ROWS):
        items.write(f"item-{number}", {"n": number})
    wait_for(lambda: items.store.columns().files, "a file of columns")
    items.close()
    for file in (items.folder / "columns").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    for _ in range(2):
        again = Items(items.folder)
        assert len(again.view().select(None, no_stop)) == 2 * FLUSH_ROWS
        again.close()
    assert len([*(items.folder / "columns").iterdir()]) == len(again_files(items.folder))


def again_files(folder: Path) -> list[int]:
    """The generations of the files that the store names."""
    with FeatureStore(folder / "leveldb") as store:
        return [file.generation for file in store.columns().files]


def test_a_list_of_files_that_cannot_be_read_is_made_again(items):
    items.write("a", {"n": 1})
    batch = items.store._leveldb.batch()
    batch.put(b"\x0d", b"\xc1")
    batch.put(b"\x05" + (99).to_bytes(8, "big"), b"\xff")
    items.store._leveldb.write(batch, "damaging records")
    for _ in range(2):
        items = reopened(items)
        assert ids_of(items.view().select(None, no_stop)) == ["a"]
    items.close()


def test_a_file_that_the_store_does_not_name_is_deleted(items):
    folder = items.folder / "columns"
    items.close()
    folder.mkdir(exist_ok=True)
    (folder / "77.arrow").write_bytes(b"of another state of the store")
    again = Items(items.folder)
    assert len(again.view().select(None, no_stop)) == 0
    assert not (folder / "77.arrow").exists()
    again.close()


def test_files_stay_few_and_lose_their_deleted_rows(items):
    for number in range(30 * FLUSH_ROWS):
        items.write(f"item-{number % 40}", {"n": number})
        if number % FLUSH_ROWS == 0:
            items.view()
    newest = attribute_of(items.view().select(None, no_stop), "n")
    assert newest == {f"item-{n % 40}": n for n in range(30 * FLUSH_ROWS - 40, 30 * FLUSH_ROWS)}
    wait_for(lambda: len([*(items.folder / "columns").iterdir()]) <= 10, "merges")


def test_blocks_stay_few_if_each_write_is_looked_for_at_once(items):
    """As by searches with a filter between adds: nothing is ever pending for long."""
    for number in range(20 * FLUSH_ROWS):
        items.write(f"item-{number}", {"n": number})
        view, _ = items.table.view_with(no_stop, lambda: None)
        assert len(view.select(None, no_stop)) == number + 1
    wait_for(lambda: len(items.store.columns().files) > 1, "files of columns")
    wait_for(lambda: len(items.view().blocks) <= 24, "merges")


def test_a_write_is_seen_while_others_write(items):
    """Each writer finds what it wrote, at once."""
    failures: list[str] = []

    def write(name: str) -> None:
        for number in range(30):
            items.write(name, {"n": number})
            found = attribute_of(items.view().select(None, no_stop), "n").get(name)
            if found != number:
                failures.append(f"{name}: {found} instead of {number}")

    threads = [threading.Thread(target=write, args=(f"writer-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_no_item_is_missing_while_all_are_written_again(items):
    names = [f"item-{number}" for number in range(20)]
    for name in names:
        items.write(name, {"n": 0})
    stop = threading.Event()

    def write(own: list[str]) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in own:
                items.write(name, {"n": number})

    writers = [threading.Thread(target=write, args=(names[n::2],)) for n in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(60):
            assert sorted(ids_of(items.view().select(None, no_stop))) == sorted(names)
            view, _ = items.table.view_with(no_stop, lambda: None)
            assert sorted(ids_of(view.select(None, no_stop))) == sorted(names)
    finally:
        stop.set()
        for writer in writers:
            writer.join()


@pytest.mark.parametrize("many", [False, True])
def test_what_is_written_while_the_stored_items_are_read_is_right(tmp_path, monkeypatch, many):
    """The store is read between and after these writes."""
    first = Items(tmp_path)
    for number in range(3 * FLUSH_ROWS):
        first.write(f"item-{number}", {"n": number}, embedding(1, 2))
    wait_for(lambda: first.store.columns().files, "a file of columns")
    for number in range(10):
        first.write(f"item-{number}", {"n": 1000 + number})  # the vector keeps its label
    first.close()
    begun, gate = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        begun.set()
        assert gate.wait(60)
        return loading.loaded_blocks(*arguments)

    monkeypatch.setattr(item_table, "loaded_blocks", held)
    again = Items(tmp_path)
    assert begun.wait(60)
    again.remove("item-0")
    again.write("item-1", {"n": 2001})
    again.remove("item-2")
    again.write("item-2", {"n": 2002}, embedding(3, 4))
    for number in range(40 * FLUSH_ROWS if many else 0):
        again.write("busy", {"n": number})
    gate.set()
    expected = {f"item-{n}": n for n in range(3 * FLUSH_ROWS)}
    expected |= {f"item-{n}": 1000 + n for n in range(10)} | {"item-1": 2001, "item-2": 2002}
    expected |= {"busy": 40 * FLUSH_ROWS - 1} if many else {}
    del expected["item-0"]
    everything = again.view().select(None, no_stop)
    assert sorted(ids_of(everything)) == sorted(expected)
    assert attribute_of(everything, "n") == expected
    again.remove("item-1")
    assert "item-1" not in ids_of(again.view().select(None, no_stop))
    again.close()


def test_rows_are_not_lost_if_a_block_cannot_be_made(items, monkeypatch):
    items.write("a", {"n": 1})
    with monkeypatch.context() as failing:
        failing.setattr(Block, "of", fail_for_memory)
        with pytest.raises(MemoryError):
            items.view()
        items.write("b", {"n": 2})
    items.write("a", {"n": 3})
    assert attribute_of(items.view().select(None, no_stop), "n") == {"a": 3, "b": 2}


def fail_for_memory(*_: Any) -> None:
    raise MemoryError


def test_predictions_that_cannot_be_read_do_not_keep_an_update_out(items, caplog):
    items.write("a", {"n": 1}, embedding(1, 2, predictions=vector(0.1, 0.9)))
    batch = items.store._leveldb.batch()
    key = b"\x07" + SPACE.to_bytes(4, "big") + (1).to_bytes(8, "big")
    batch.put(key, b"odd")
    items.store._leveldb.write(batch, "damaging predictions")
    items.write("a", {"n": 2})
    assert attribute_of(items.view().select(None, no_stop), "n") == {"a": 2}
    assert "left out of filters" in caplog.text


def test_predictions_that_were_imported_with_a_ready_made_vector_are_columns(items):
    items.write("a", {}, embedding(1, 2, predictions=vector(0.1, 0.9)), ready_made=True)
    sure = Comparison(Prediction(SPACE, Value.CONFIDENCE), Operator.GREATER, 0.8)
    assert ids_of(items.view().select(sure, no_stop)) == ["a"]
    items.write("a", {"n": 1})
    assert ids_of(items.view().select(sure, no_stop)) == ["a"]
    shutil.rmtree(items.folder / "columns", ignore_errors=True)
    again = reopened(items)
    try:
        assert ids_of(again.view().select(sure, no_stop)) == ["a"]
    finally:
        again.close()


def values_by_vector(items: Items, labels: list[int]) -> dict[int, Any]:
    """The ints of attribute n, by the labels of the vectors of their items."""
    found: dict[int, Any] = {}
    for places, values in items.view().values_of_vectors(
        SPACE, np.array(labels, np.int64), Attribute("n")
    ):
        for place, value in zip(places.tolist(), values.ints.to_pylist(), strict=True):
            assert labels[place] not in found
            found[labels[place]] = value
    return found


def test_the_items_of_vectors_are_found_whatever_has_been_written_since(items):
    for number, name in enumerate("abcd"):
        items.write(name, {"n": number}, embedding(1, number))
    a, b, c, d = (items.store.item(name).labels[SPACE] for name in "abcd")
    assert values_by_vector(items, [d, a, 99, b, c]) == {a: 0, b: 1, c: 2, d: 3}
    items.write("a", {"n": 10})
    items.write("a", {"n": 20})  # before there is a block of the first
    items.remove("b")
    items.write("c", {"n": 30}, embedding(5, 5))
    again = items.store.item("c").labels[SPACE]
    assert values_by_vector(items, [a, b, c, d, again]) == {a: 20, d: 3, again: 30}
    for number in range(3 * FLUSH_ROWS):
        items.write(f"other {number}", {"n": -1})
    assert values_by_vector(items, [again, a, d]) == {a: 20, d: 3, again: 30}


class Locked(threading.Thread):
    """Holds the lock under which writes are published until it is released."""

    def __init__(self, table: ItemTable) -> None:
        super().__init__()
        self.held, self.done = threading.Event(), threading.Event()
        self._table = table

    def run(self) -> None:
        with self._table.publishing:
            self.held.set()
            self.done.wait(60)


def test_what_an_update_keeps_is_read_while_others_are_published(items):
    items.write("a", {"n": 1}, embedding(1, 2, predictions=vector(0.1, 0.9)))
    record = items.store.item("a")
    other = Locked(items.table)
    other.start()
    other.held.wait()
    try:
        write = ItemWrite("a", record.current_label + 1, record, record, {}, None)
        (row,) = items.table.prepare([write])
    finally:
        other.done.set()
        other.join()
    assert row.predictions[SPACE].tolist() == vector(0.1, 0.9).tolist()


def test_predictions_are_columns(items):
    items.write("sure", {}, embedding(1, 2, predictions=vector(0.1, 0.9)))
    items.write("unsure", {}, embedding(1, 2, predictions=vector(0.6, 0.4)))
    items.write_columns(["ready-made"], None)
    view = items.view()
    label = Prediction(SPACE, Value.LABEL, ("no", "yes"))
    assert ids_of(view.select(Comparison(label, Operator.EQUAL, "yes"), no_stop)) == ["sure"]
    confidence = Prediction(SPACE, Value.CONFIDENCE, ("no", "yes"))
    assert ids_of(view.select(Comparison(confidence, Operator.LESS, 0.7), no_stop)) == ["unsure"]
    items.write("certain", {}, embedding(1, 2, predictions=vector(0, 1)))
    certain = Comparison(confidence, Operator.EQUAL, 1.0)
    assert ids_of(items.view().select(certain, no_stop)) == ["certain"]
    labels = view.select(None, no_stop).vector_labels(SPACE)
    assert len(labels) == 3
    assert (labels > 0).all()


@pytest.mark.parametrize("labels", [(), ("no", "yes"), ("yes",), ("yes", "yes")])
@pytest.mark.parametrize("value", ["yes", "no", "1", "0", "01", 1, 0, True])
def test_a_label_is_compared_by_its_class_as_by_its_name(items, labels, value):
    items.write("sure", {}, embedding(1, 2, predictions=vector(0.1, 0.9)))
    items.write("unsure", {}, embedding(1, 2, predictions=vector(0.6, 0.4)))
    items.write("unknown", {}, None)
    (block, _), *_ = items.view().blocks
    label = Prediction(SPACE, Value.LABEL, labels)
    top = Prediction(SPACE, Value.TOP_LABELS, labels)
    for condition in (
        Comparison(label, Operator.EQUAL, value),
        Not(OneOf(label, (value, "maybe"))),
        All((Contains(top, value), Exists(top))),
    ):
        assert (
            block.matching(BlockFilter(condition)).tolist() == matching(condition, block).tolist()
        )


def test_a_filter_is_not_taken_for_another_that_python_calls_equal(items):
    for number, value in enumerate([True, 1, False, 0, "1"]):
        items.write(f"{number}", {"v": value})
    view = items.view()
    for _ in range(2):
        for value, expected in ((True, "0"), (1, "1"), (False, "2"), (0, "3"), (1.0, "1")):
            condition = Comparison(Attribute("v"), Operator.EQUAL, value)
            assert ids_of(view.select(condition, no_stop)) == [expected]
            assert ids_of(view.select(OneOf(Attribute("v"), (value,)), no_stop)) == [expected]


def test_an_item_that_cannot_be_read_is_left_out_alone(items, caplog):
    items.write("good", {"n": 1})
    items.write("bad", {"n": 2})
    batch = items.store._leveldb.batch()
    batch.put(b"\x04bad", b"\xc1")
    items.store._leveldb.write(batch, "damaging a record")
    items = reopened(items)
    assert ids_of(items.view().select(None, no_stop)) == ["good"]
    assert "'bad'" in caplog.text
    items.close()
