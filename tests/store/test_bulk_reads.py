"""BulkReads returns what single reads return."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import FeatureStore, keys
from euclidesdb_server.store.bulk_reads import BulkReads
from tests.support.stores import embedding, write_item


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Items whose ids and labels are close together and far apart, with holes."""
    numbers = np.random.default_rng(0)
    with FeatureStore(tmp_path_factory.mktemp("bulk") / "leveldb", sync=False) as opened:
        opened.open_space("one", "1", 2)
        opened.open_space("two", "1", 1)
        for number in range(600):
            item_id = f"item-{number}" if number % 3 else numbers.bytes(4).hex()
            spaces = {1: embedding(number, 1, predictions=np.ones(number % 3, np.float32))}
            if number % 50 > 40:
                spaces[2] = embedding(number)
            write_item(opened, item_id, spaces, metadata=b"m" * (number % 7))
        for number in range(1, 600, 7):
            write_item(opened, f"item-{number}", {2: embedding(-number)}, attributes_json='{"a":1}')
        yield opened


def same(bulk, record):
    if bulk is None or record is None:
        return bulk is record
    names = set(bulk.__struct_fields__) - {"ready_made"}
    return (
        all(getattr(bulk, name) == getattr(record, name) for name in names)
        and {*bulk.ready_made} == record.ready_made
        and bulk.current_label == record.current_label
    )


@pytest.mark.parametrize("count", [1, 2, 7, 64, 700])
@pytest.mark.parametrize("prefix", [b"", b"item-1"])
def test_items_are_those_that_single_reads_find(store, count, prefix):
    bulk = BulkReads(store)
    ids = [key[1:].decode() for key, _ in store.prefix(keys.ITEM + prefix)]
    ids += ["missing", "item-1000", "\0", "\U0010ffff"]
    order = np.random.default_rng(count).permutation(len(ids))
    for _ in range(3):  # the first look-ups are scans, some later ones are not
        for start in range(0, len(ids), count):
            part = [ids[place] for place in order[start : start + count]]
            found = zip(bulk.items(part), store.items(part), strict=True)
            assert all(same(one, other) for one, other in found)


@pytest.mark.parametrize("space", [1, 2, 3])
@pytest.mark.parametrize("kind", [keys.VECTOR, keys.PREDICTIONS])
@pytest.mark.parametrize("step", [1, 5, 40])
def test_rows_are_those_that_single_reads_find(store, space, kind, step):
    wanted = [*range(1, 800, step), *range(300, 330)]
    labels = [*np.random.default_rng(0).permutation(wanted).tolist(), None]
    for label, found in zip(labels, BulkReads(store).rows(kind, space, labels), strict=True):
        assert found == (label and store.value(keys.row_key(kind, space, label)))
    assert BulkReads(store).rows(kind, space, []) == []


def test_records_of_an_earlier_format_and_damaged_ones_are_read_as_single_ones_are(tmp_path):
    with FeatureStore(tmp_path / "leveldb", sync=False) as store:
        store.open_space("one", "1", 1)
        value = write_item(store, "old", {1: embedding(1)}).packed()
        store._put(keys.item_key("old"), b"\x95" + value[1:-1], "as format 1")
        assert same(BulkReads(store).items(["old"])[0], store.item("old"))
        store._put(keys.item_key("old"), b"damaged", "damaging it")
        with pytest.raises(CorruptRecord, match="item 'old'"):
            BulkReads(store).items(["old"])
