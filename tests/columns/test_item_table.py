"""The table of items follows every write, through blocks, files, merges and restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from euclidesdb_server.columns.block import BlockFilter
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
SEAL_ROWS = 8


def no_stop() -> None:
    pass


class Items:
    """A store with a table of its items, and what must be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FeatureStore(folder / "leveldb")
        if not self.store.spaces():
            self.store.open_space("m", "f", 2)
        self.table = ItemTable(self.store, folder / "columns", seal_rows=SEAL_ROWS)

    def close(self) -> None:
        self.table.close()
        self.store.close()

    def write(
        self,
        item_id: str,
        attributes: dict[str, Any],
        found: Embedding | None = None,
    ) -> None:
        before = self.store.item(item_id)
        kept = before or ItemRecord()
        embeddings = {} if found is None else {SPACE: found}
        with self.store.labels.allocate() as (label,):
            labels = {**kept.labels, **dict.fromkeys(embeddings, label)}
            after = ItemRecord(json.dumps(attributes), b"", labels).with_labels(
                current=label, first=kept.first_label or label
            )
            write = ItemWrite(item_id, label, before, after, embeddings, None)
            self.store.write(write)
            self.table.publish([write])

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
        self.table.delete([record.current_label])

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


def test_sealed_rows_are_read_from_files_after_a_restart(items):
    for number in range(3 * SEAL_ROWS):
        items.write(f"item-{number}", {"n": number})
    wait_for(lambda: items.store.columns().files, "a file of columns")
    items.remove("item-0")
    items.write("item-1", {"n": 100})
    items = reopened(items)
    found = attribute_of(items.view().select(None, no_stop), "n")
    assert found == {f"item-{number}": number for number in range(2, 24)} | {"item-1": 100}
    items.close()


def test_a_damaged_file_is_made_again_from_the_store(items):
    for number in range(2 * SEAL_ROWS):
        items.write(f"item-{number}", {"n": number})
    wait_for(lambda: items.store.columns().files, "a file of columns")
    items.close()
    for file in (items.folder / "columns").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    again = Items(items.folder)
    assert len(again.view().select(None, no_stop)) == 2 * SEAL_ROWS
    again.close()


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
    for number in range(30 * SEAL_ROWS):
        items.write(f"item-{number % 40}", {"n": number})
        if number % SEAL_ROWS == 0:
            items.view()
    newest = attribute_of(items.view().select(None, no_stop), "n")
    assert newest == {f"item-{n % 40}": n for n in range(30 * SEAL_ROWS - 40, 30 * SEAL_ROWS)}
    wait_for(lambda: len([*(items.folder / "columns").iterdir()]) <= 10, "merges")


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


def test_predictions_are_columns(items):
    items.write("sure", {}, embedding(1, 2, predictions=vector(0.1, 0.9)))
    items.write("unsure", {}, embedding(1, 2, predictions=vector(0.6, 0.4)))
    items.write_columns(["ready-made"], None)
    view = items.view()
    label = Prediction(SPACE, Value.LABEL, ("no", "yes"))
    assert ids_of(view.select(Comparison(label, Operator.EQUAL, "yes"), no_stop)) == ["sure"]
    confidence = Prediction(SPACE, Value.CONFIDENCE)
    assert ids_of(view.select(Comparison(confidence, Operator.LESS, 0.7), no_stop)) == ["unsure"]
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
