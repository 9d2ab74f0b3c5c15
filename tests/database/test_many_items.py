"""Many items are read, or removed, in one call; each succeeds or fails on its own."""

from __future__ import annotations

import threading

import pytest

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.errors import (
    CorruptRecord,
    DeadlineExceeded,
    InvalidRequest,
    ReplyTooLarge,
    WriteInDoubt,
)
from euclidesdb_server.store import keys
from tests.database.test_database_recovery import add_in_spite_of
from tests.support.assembled import CALL, Database, no_models
from tests.support.failing_sync import FailingSync
from tests.support.stores import write_labels

EVERYTHING = Include(vectors=True, predictions=True, payload=True)


@pytest.fixture
def items(database):
    """Items "0" to "4" in the space `one`, those with even numbers in `two` as well."""
    for number in range(5):
        vectors = {"one": [number, 0], **({} if number % 2 else {"two": [number, 1, 1]})}
        texts = {"attributes_json": f'{{"n":{number}}}', "metadata": b"%d" % number}
        database.add(f"{number}", texts=texts, **vectors)
    return database


def damage(database, item_id):
    batch = database.store._leveldb.batch()
    batch.put(keys.item_key(item_id), b"damaged")
    database.store._leveldb.write(batch, "damaging")


def get_many(database, ids, include=EVERYTHING):
    return database.features.get_many(ids, include, CALL)


def remove_many(database, ids, **options):
    removal = database.features.remove_many(ids, **options)
    return removal.removed, removal.missing, removal.errors


def stored(database):
    return sorted(key[1:].decode() for key, _ in database.store.prefix(keys.ITEM))


def test_many_items_are_read_as_one_by_one(items):
    ids = ["3", "0", "nobody", "0"]
    found = get_many(items, ids)
    assert found[2] is None
    for item_id in (0, 1, 3):
        item, alone = found[item_id], items.get(ids[item_id])
        assert (item.id, item.attributes_json, item.metadata) == (
            alone.id, alone.attributes_json, alone.metadata,
        )  # fmt: skip
        assert [each.vector.tolist() for each in item.embeddings] == [
            each.vector.tolist() for each in alone.embeddings
        ]
    plain = get_many(items, ["0"], Include())[0]
    assert [(each.model, each.vector) for each in plain.embeddings] == [
        ("one", None),
        ("two", None),
    ]


def test_an_item_that_cannot_be_read_fails_alone(items):
    damage(items, "1")
    found = get_many(items, ["0", "1", "", "2"])
    assert [type(outcome) for outcome in found[1:3]] == [CorruptRecord, InvalidRequest]
    assert [found[0].id, found[3].id] == ["0", "2"]


def test_items_are_read_as_of_one_moment(items):
    class Writing:
        """A caller during whose call an item is written."""

        def is_active(self):
            items.add("4", one=[9, 9], texts={"attributes_json": '{"n":9}'})
            return True

    before = items.features.get_many(["4"], Include(), Writing())
    assert before[0].attributes_json == '{"n":4}'


def test_a_reply_has_a_limit_for_all_that_it_holds(tmp_path):
    limits = ServerConfig(max_reply_bytes=1000)
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, limits=limits) as database:
        texts = {"attributes_json": '{"a":"%s"}' % ("x" * 300), "metadata": bytes(100)}
        for item_id in "ab":
            database.add(item_id, one=[1, 0], texts=texts)
        assert len(get_many(database, ["a", "b"])) == 2
        with pytest.raises(ReplyTooLarge, match=r"permits 1,000 .* get fewer items"):
            get_many(database, ["a", "b", "a"])


def test_reading_ends_when_the_caller_has_left(items):
    class Gone:
        def is_active(self):
            return False

    with pytest.raises(DeadlineExceeded):
        items.features.get_many(["0"], Include(), Gone())


def test_many_items_are_removed_and_the_others_named(items):
    assert remove_many(items, ["4", "nobody", "0", "4", "nobody"]) == (2, (1, 4), {})
    assert stored(items) == ["1", "2", "3"]
    assert items.ids([0, 0], "one") == ["1", "2", "3"]
    assert items.ids([0, 0, 0], "two") == ["2"]
    write_labels(items.store)


def test_a_dry_run_tells_what_a_removal_would_do(items):
    damage(items, "1")
    ids = ["0", "1", "", "nobody", "0", "2"]
    expected = remove_many(items, ids, dry_run=True)
    assert expected[:2] == (2, (3,))
    assert {row: type(error) for row, error in expected[2].items()} == {
        1: CorruptRecord, 2: InvalidRequest,
    }  # fmt: skip
    assert len(stored(items)) == 5
    removed, missing, errors = remove_many(items, ids)
    assert (removed, missing, errors.keys()) == (*expected[:2], expected[2].keys())
    assert stored(items) == ["1", "3", "4"]


def test_items_are_removed_in_batches_that_share_a_sync(database, monkeypatch):
    database.add_vectors("one", [f"{row}" for row in range(2500)], [[0, 0]] * 2500)
    sizes = []
    remove = type(database.store).remove

    def counted(store, *removed, **options):
        sizes.append(len(removed))
        remove(store, *removed, **options)

    monkeypatch.setattr(type(database.store), "remove", counted)
    assert remove_many(database, [f"{row}" for row in range(2500)]) == (2500, (), {})
    assert sizes == [1024, 1024, 452]
    assert database.ids([0, 0], "one") == []


def test_a_removal_that_fails_on_its_way_is_in_doubt_and_resolved(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as database:
        for number in range(3):
            database.add(f"{number}", one=[number, 0])
        FailingSync(database.store).may_fail.set()
        removed, missing, errors = remove_many(database, ["0", "nobody", "2"])
        assert (removed, missing) == (0, ())
        assert {row: type(error) for row, error in errors.items()} == dict.fromkeys(
            range(3), WriteInDoubt
        )
        add_in_spite_of(database, "after")
        assert database.ids([0, 0], "one") == ["after", "1"]
        assert remove_many(database, ["0", "1"]) == (1, (0,), {})


def test_removals_of_the_same_items_at_once_count_each_once(database):
    ids = [f"{row}" for row in range(300)]
    database.add_vectors("one", ids, [[0, 0]] * 300)
    removed = []

    def remove(chosen):
        removed.append(remove_many(database, chosen)[0])

    threads = [threading.Thread(target=remove, args=(ids[start:],)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(removed) == 300
    assert database.ids([0, 0], "one") == []
