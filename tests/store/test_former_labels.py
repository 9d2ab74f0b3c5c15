"""The id of a row that a search has seen is known for a while, whatever became of the item."""

from __future__ import annotations

from support.stores import embedding, write_item

from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.former import FormerLabels


def test_a_row_has_its_id_after_its_item_was_rewritten_or_removed(tmp_path):
    with FeatureStore(tmp_path) as store:
        number = store.open_space("model", "fingerprint", 1).number
        first = write_item(store, "a", {number: embedding(1)}).labels[number]
        record = write_item(store, "a", {number: embedding(2)})
        store.remove("a", record)
        for label in (first, record.labels[number]):
            assert store.item_id(label) is None
            assert store.id_of_row(label) == "a"
        assert store.id_of_row(record.labels[number] + 1) is None


def test_the_latest_labels_are_remembered_and_the_oldest_are_forgotten():
    former = FormerLabels(capacity=10)
    for label in range(1, 101):
        former.remember(f"item {label}", [label])
        known = [old for old in range(1, label + 1) if former.item_id(old) == f"item {old}"]
        assert known == [*range(known[0], label + 1)]
        assert min(label, 10) <= len(known) <= 20


def test_a_label_that_was_never_replaced_has_no_former_id():
    assert FormerLabels().item_id(1) is None
