"""BulkReads returns what single reads return."""

from __future__ import annotations

import shutil
from hashlib import blake2b

import msgspec
import numpy as np
import pytest

from euclidesdb_server.errors import CorruptRecord, DataFolderError
from euclidesdb_server.store import ColumnsWrite, FeatureStore, keys, leveldb_reads
from euclidesdb_server.store.bulk_reads import BulkReads, unpacked_record
from euclidesdb_server.store.item_values import item_values, values_within
from euclidesdb_server.values.vector_columns import VectorColumns
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
    ids = [key[1:].decode() for key, _ in store.prefix(keys.ITEM + prefix)]
    ids += ["missing", "item-1000", "\0", "\U0010ffff"]
    order = np.random.default_rng(count).permutation(len(ids))
    for places in (order, np.sort(order)):
        for start in range(0, len(ids), count):
            part = [ids[place] for place in places[start : start + count]]
            values = item_values(store.source, part)
            found = [
                None if value is None else unpacked_record(item_id, value)
                for item_id, value in zip(part, values, strict=True)
            ]
            assert all(map(same, found, store.items(part)))


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
        (found,) = item_values(store.source, ["old"])
        assert found is not None
        assert same(unpacked_record("old", found), store.item("old"))
        store._put(keys.item_key("old"), b"damaged", "damaging it")
        with pytest.raises(CorruptRecord, match="item 'old'"):
            unpacked_record("old", item_values(store.source, ["old"])[0] or b"")


def test_values_are_given_up_if_they_are_too_many_bytes(store):
    ids = [f"item-{number}" for number in range(1, 600)]
    values = item_values(store.source, ids)
    size = sum(len(value) for value in values if value is not None)
    assert values_within(size, store.source, ids) == values
    assert values_within(size // 2, store.source, ids) is None


def test_a_record_of_a_newer_program_is_refused_as_single_reads_refuse_it(tmp_path):
    with FeatureStore(tmp_path / "leveldb", sync=False) as store:
        store.open_space("one", "1", 1)
        fields = msgspec.msgpack.decode(write_item(store, "new", {1: embedding(1)}).packed())
        fields += [None, None, {}, b"x", {}][len(fields) - 6 :]
        assert len(fields) == 11
        store._put(keys.item_key("new"), msgspec.msgpack.encode(fields), "as a newer program")
        (found,) = item_values(store.source, ["new"])
        with pytest.raises(CorruptRecord, match="item 'new'"):
            unpacked_record("new", found or b"")


class Watched:
    """Reads of a source, with the bytes of the values that each had in memory."""

    def __init__(self, source):
        self._source = source
        self.sizes = []

    def neighbors(self, *arguments):
        rows = self._source.neighbors(*arguments)
        self.sizes.append(sum(len(value) for _, value in rows))
        return rows

    def get(self, key):
        return self._source.get(key)

    def get_many(self, wanted):
        return self._source.get_many(wanted)

    def scan(self, *arguments):
        yield from self._counted(self._source.scan(*arguments))

    def scan_keys(self, *arguments):
        yield from self._counted(self._source.scan_keys(*arguments))

    def _counted(self, scan):
        self.sizes.append(0)
        for rows in scan:
            self.sizes[-1] += sum(len(value) for _, value in rows)
            yield rows


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("missing", [0, 3])
def test_no_more_is_read_at_a_time_than_the_limit_and_what_a_scan_reads(
    tmp_path, monkeypatch, step, missing
):
    large, limit, at_a_time = 10_000, 200_000, 50_000
    monkeypatch.setattr(leveldb_reads, "SCAN_BYTES", at_a_time)
    with FeatureStore(tmp_path / "leveldb", sync=False) as store:
        store.open_space("one", "1", 1)
        names = [f"item-{number:04}" for number in range(600)]
        for number, item_id in enumerate(names):
            metadata = bytes(large if number > 150 else 10)
            write_item(store, item_id, {1: embedding(1)}, metadata=metadata)
        ids = [*(f"item-0000{number}" for number in range(missing)), *names[::step]]
        watched = Watched(store.source)
        assert values_within(limit, watched, ids) is None
        assert max(watched.sizes) <= limit + at_a_time + 2 * large
        assert sum(watched.sizes) < 3 * (limit + at_a_time + 2 * large)
        part = ids[: 120 // step]
        values = values_within(limit, watched, part)
        assert values == [store.value(keys.item_key(item_id)) for item_id in part]


COUNT = 3000


@pytest.fixture(scope="module")
def in_tables(tmp_path_factory):
    """A closed store whose items are all in one table: half of them with ids that are neighbors."""
    folder = tmp_path_factory.mktemp("tables") / "leveldb"
    ids = [f"item-{number:05}" for number in range(COUNT)]
    ids[1::2] = [f"{hash_of(number)}" for number in range(COUNT // 2)]
    with FeatureStore(folder, sync=False) as store:
        space = store.open_space("one", "1", 8).number
        with store.labels.allocate(COUNT) as labels:
            vectors = np.random.default_rng(0).normal(size=(COUNT, 8)).astype(np.float32)
            store.write(columns=ColumnsWrite(space, labels, VectorColumns(ids, vectors)))
    FeatureStore(folder).close()  # replays the log into a table
    with FeatureStore(folder) as store:
        expected = read(store, ids, labels)
    return folder, ids, labels, expected


def hash_of(number):
    return blake2b(number.to_bytes(8, "big"), digest_size=8).hexdigest()


def read(store, ids, labels):
    bulk = BulkReads(store)
    others = [item_id for number in range(0, COUNT, 40) for item_id in (ids[number], f"z{number}")]
    source = store.source
    found = [item_values(source, each) for each in (ids, sorted(ids), others)]
    return [*found, bulk.rows(keys.VECTOR, 1, [*labels])]


def test_damage_is_an_error_and_nothing_is_left_out(in_tables, tmp_path):
    """Also where LevelDB's iterators leave a block out that they cannot read."""
    folder, ids, labels, expected = in_tables
    (table,) = folder.glob("*.ldb")
    content, refused = table.read_bytes(), 0
    for position in np.linspace(0, len(content) - 1, 60, dtype=int).tolist():
        damaged = tmp_path / str(position)
        shutil.copytree(folder, damaged)
        (damaged / table.name).write_bytes(
            content[:position] + bytes([content[position] ^ 0x40]) + content[position + 1 :]
        )
        try:
            with FeatureStore(damaged) as store:
                assert read(store, ids, labels) == expected
        except (CorruptRecord, DataFolderError):
            refused += 1
    assert refused > 30  # the rest is of other records, which are not read here
