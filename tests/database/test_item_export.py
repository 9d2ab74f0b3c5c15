"""What an export holds in memory at a time, and that it reads no further than it has to."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from euclidesdb_server.database import item_export
from euclidesdb_server.database.item_export import (
    BATCH_BYTES,
    BATCH_ROWS,
    LEAST_BYTES,
    MIN_ROWS,
    ExportRequest,
)
from euclidesdb_server.database.item_exports import FEW
from euclidesdb_server.database.item_import import ImportedItem
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.errors import CorruptRecord, DeadlineExceeded
from euclidesdb_server.rpc.arrow_items import PIECE_BYTES, arrow_stream
from euclidesdb_server.store import keys
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.payload import Payload
from tests.support.assembled import CALL, Database, no_models

EVERYTHING = Include(vectors=True, predictions=True, payload=True)


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 3, "large": 2048}) as made:
        yield made


def batches(database, **request):
    wanted = ExportRequest(include=EVERYTHING, **request)
    with database.features._features.exports.open(wanted, CALL) as export:
        yield from export.batches()


def test_batches_have_bounded_numbers_of_rows_and_bytes(database):
    small = [f"small-{number}" for number in range(9000)]
    database.add_vectors("one", small, np.zeros((9000, 3)))
    sizes = [len(batch.ids) for batch in batches(database)]
    assert sum(sizes) == 9000
    assert max(sizes) == BATCH_ROWS
    large = [f"large-{number}" for number in range(300)]
    database.add_vectors("large", large, np.zeros((300, 2048)))
    sizes = [len(batch.ids) for batch in batches(database, models=("large",))]
    assert max(sizes) * 2048 * 4 <= BATCH_BYTES
    sizes = [len(batch.ids) for batch in batches(database, models=("one",))]
    assert len(sizes) < 5


def test_many_open_exports_share_what_is_read_at_a_time(database):
    database.add_vectors("large", [f"{number}" for number in range(3000)], np.zeros((3000, 2048)))
    exports = database.features._features.exports
    with ExitStack() as opened:
        sizes = []
        for _ in range(64):
            export = opened.enter_context(exports.open(ExportRequest(include=EVERYTHING), CALL))
            sizes.append(len(next(export.batches()).ids))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] == sizes[FEW - 1] > 4 * sizes[-1]
        assert sizes[-1] * 2048 * 4 <= LEAST_BYTES
        assert sum(map(len, (batch.ids for batch in export.batches()))) == 3000
    assert len(next(batches(database)).ids) == sizes[0]


def test_large_items_are_read_alone_and_sent_in_pieces(database):
    items = [
        ImportedItem(f"item-{number}", payload=Payload("image", bytes(size)), metadata=b"m" * 1000)
        for number, size in enumerate([10, 3 << 20, 10, 700_000, 700_000, 5])
    ]
    changes = database.features._features.imports.write(items)
    assert [*changes] == [ItemChange.ADDED] * 6
    found = [batch.ids for batch in batches(database)]
    assert found == [["item-0"], ["item-1"], ["item-2", "item-3"], ["item-4", "item-5"]]
    request = ExportRequest(include=EVERYTHING)
    with database.features._features.exports.open(request, CALL) as export:
        sizes = [*map(len, arrow_stream(export))]
    assert max(sizes) == PIECE_BYTES
    assert sum(sizes) > 4 << 20


def test_an_export_ends_when_its_caller_has_left(database):
    class Left:
        active = True

        def is_active(self):
            return self.active

    database.add_vectors("one", [f"{number}" for number in range(9000)], np.zeros((9000, 3)))
    call = Left()
    request = ExportRequest(include=EVERYTHING)
    with database.features._features.exports.open(request, call) as export:
        found = export.batches()
        next(found)
        call.active = False
        with pytest.raises(DeadlineExceeded):
            next(found)


def test_damage_is_named_and_ends_an_export(database):
    database.add("sound", one=[1, 2, 3])
    database.add("broken", one=[1, 2, 3])
    database.table.view(lambda: None)
    database.store._put(keys.item_key("broken"), b"x", "damaging it")
    with pytest.raises(CorruptRecord, match="'broken'"):
        [*batches(database)]


def test_attributes_that_are_not_utf8_are_named_and_end_an_export(database):
    for item_id in ("sound", "broken", "later"):
        database.add(item_id, one=[1, 2, 3], texts={"attributes_json": '{"a":"b"}'})
    database.table.view(lambda: None)
    value = database.store.value(keys.item_key("broken")).replace(b'"b"', b'"\xff"')
    database.store._put(keys.item_key("broken"), value, "damaging it")
    request = ExportRequest(include=EVERYTHING)
    with (
        database.features._features.exports.open(request, CALL) as export,
        pytest.raises(CorruptRecord, match="'broken'"),
    ):
        [*arrow_stream(export)]


def test_many_large_records_are_read_few_at_a_time(database):
    ids = [f"item-{number:03}" for number in range(300)]
    metadata = [bytes([number % 256]) * 100_000 for number in range(300)]
    database.add_vectors("one", ids, np.zeros((300, 3)), metadata=metadata)
    found = [*batches(database)]
    assert max(len(batch.ids) for batch in found) * 100_000 <= BATCH_BYTES
    assert [each for batch in found for each in batch.ids] == ids
    assert [each for batch in found for each in batch.records.metadata.values()] == metadata


def test_records_are_read_within_a_limit_whose_rows_follow_their_sizes(database, monkeypatch):
    size, limit = 20_000, 200_000
    reads = []

    def watched(find):
        def found(*arguments):
            values = find(*arguments)
            if values is not None:
                reads.append(values)
            return values

        return found

    for name in ("values_within", "item_values"):
        monkeypatch.setattr(item_export, name, watched(getattr(item_export, name)))
    monkeypatch.setattr(item_export, "RECORDS_BYTES", limit)
    ids = [f"item-{number:04}" for number in range(3000)]
    metadata = [bytes(size if number < 300 else 1) for number in range(3000)]
    for start in range(0, 3000, 100):
        part = slice(start, start + 100)
        database.add_vectors("one", ids[part], np.zeros((100, 3)), metadata=metadata[part])
    assert [each for batch in batches(database) for each in batch.ids] == ids
    assert max(sum(map(len, values)) for values in reads) < limit + MIN_ROWS * size
    assert len(reads[0]) == MIN_ROWS
    assert max(map(len, reads)) > 20 * MIN_ROWS


def test_a_filter_holds_for_what_is_exported(database):
    """Also for an item whose last write is stored, but not published yet."""
    from euclidesdb_server.values.filters import Attribute, Comparison, Operator  # noqa: PLC0415

    condition = Comparison(Attribute("a"), Operator.EQUAL, 1)
    for item_id in ("stays", "changes"):
        database.add(item_id, one=[1, 2, 3], texts={"attributes_json": '{"a": 1}'})
    exports = database.features._features.exports
    view = database.table.view_with

    def view_with(check, take):
        found = view(check, lambda: None)
        database.add("changes", one=[1, 2, 3], texts={"attributes_json": '{"a": 2}'})
        return found[0], take()

    database.table.view_with = view_with
    with exports.open(ExportRequest(condition), CALL) as export:
        assert [batch.ids for batch in export.batches()] == [["stays"]]
