"""What a store may be opened from: its own folder, undamaged, by one process, of a known format."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import numpy as np
import plyvel
import pytest

from euclidesdb_server.errors import CorruptRecord, DataFolderError
from euclidesdb_server.store import FeatureStore, keys
from euclidesdb_server.values.embedding import Embedding
from tests.support.stores import copy_of_crashed, embedding, stored_rows, write_item

ITEMS, DIM = 120, 16
VECTORS = np.random.default_rng(0).standard_normal((ITEMS, DIM), np.float32)


@pytest.fixture(scope="module")
def in_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of ITEMS items, all in a table file and none in the log."""
    folder = tmp_path_factory.mktemp("tables")
    fill(folder)
    FeatureStore(folder).close()  # replays the log into a table
    return folder


def fill(folder: Path) -> None:
    with FeatureStore(folder, sync=False) as store:
        number = store.open_space("model", "fingerprint", DIM).number
        for index, row in enumerate(VECTORS):
            write_item(store, f"item {index}", {number: Embedding(row, None)})


def check_all_items(store: FeatureStore) -> None:
    """Read every item both ways; AssertionError for a wrong or missing one."""
    number = store.open_space("model", "fingerprint", DIM).number
    found = dict(stored_rows(store, number, DIM).values())
    assert found == {f"item {index}": row.tolist() for index, row in enumerate(VECTORS)}
    for index, row in enumerate(VECTORS):
        record = store.item(f"item {index}")
        assert record is not None
        assert np.array_equal(store.embedding(number, record.labels[number]).vector, row)


def test_a_second_open_of_the_same_folder_names_the_folder(tmp_path):
    with (
        FeatureStore(tmp_path / "mine"),
        pytest.raises(DataFolderError, match=r"mine is in use by another server"),
    ):
        FeatureStore(tmp_path / "mine")
    FeatureStore(tmp_path / "mine").close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match="file"):
        FeatureStore(tmp_path / "file")


def test_a_newer_format_is_refused_and_untouched(tmp_path):
    FeatureStore(tmp_path).close()
    with leveldb(tmp_path) as database:
        database.put(keys.DATABASE, msgpack.packb([3]))
    with pytest.raises(DataFolderError, match="has format 3, but this server reads format 2"):
        FeatureStore(tmp_path)
    with leveldb(tmp_path) as database:
        assert list(database) == [(keys.DATABASE, msgpack.packb([3]))]


def test_a_leveldb_of_something_else_is_refused_and_untouched(tmp_path):
    with leveldb(tmp_path, create_if_missing=True) as database:
        database.put(b"precious", b"data")
    with pytest.raises(DataFolderError, match="of another program"):
        FeatureStore(tmp_path)
    with leveldb(tmp_path) as database:
        assert list(database) == [(b"precious", b"data")]


def test_a_failed_open_releases_the_folder(tmp_path):
    with leveldb(tmp_path, create_if_missing=True) as database:
        database.put(b"precious", b"data")
    for _ in range(2):  # the second must not find the folder in use
        with pytest.raises(DataFolderError, match="of another program"):
            FeatureStore(tmp_path)


def leveldb(folder: Path, **options: object) -> plyvel.DB:
    return plyvel.DB(str(folder), **options)


def flips(path: Path, count: int) -> Iterator[Callable[[Path], None]]:
    """Ways to damage a copy of the file: one bit at each of `count` places spread over it."""
    size = path.stat().st_size
    for position in sorted({*np.linspace(0, size - 1, count, dtype=int).tolist()}):

        def damage(copy: Path, position: int = position) -> None:
            content = bytearray(copy.read_bytes())
            content[position] ^= 0x40
            copy.write_bytes(content)

        yield damage


def test_a_damaged_table_gives_an_error_and_never_a_wrong_value(in_tables, tmp_path):
    (table,) = in_tables.glob("*.ldb")
    refused = 0
    for damage in flips(table, 80):
        folder = tmp_path / "damaged"
        shutil.copytree(in_tables, folder)
        damage(folder / table.name)
        try:
            with FeatureStore(folder) as store:
                check_all_items(store)
        except (CorruptRecord, DataFolderError):
            refused += 1
        shutil.rmtree(folder)
    assert refused > 60  # the rest is padding: bytes that mean nothing


def test_a_damaged_log_is_refused_instead_of_skipped(tmp_path):
    live = tmp_path / "live"
    fill(live)
    (log,) = live.glob("*.log")
    for damage in flips(log, 12):
        folder = copy_of_crashed(live, tmp_path / "damaged")
        damage(folder / log.name)
        with pytest.raises(DataFolderError, match="damaged"):
            FeatureStore(folder).close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("change", ["cut short", "longer", "missing"])
def test_a_log_that_is_not_as_an_orderly_close_left_it_is_refused_by_name(tmp_path, change):
    fill(tmp_path / "store")
    (log,) = (tmp_path / "store").glob("*.log")
    content = log.read_bytes()
    if change == "missing":
        log.unlink()
    else:
        log.write_bytes(content[:-40] if change == "cut short" else content + b"more")
    with pytest.raises(DataFolderError, match=re.escape(log.name)):
        FeatureStore(tmp_path / "store")
    log.write_bytes(content)
    with FeatureStore(tmp_path / "store") as store:
        check_all_items(store)


def test_after_a_crash_a_log_cut_short_is_an_earlier_state(tmp_path):
    with FeatureStore(tmp_path / "store") as store:
        number = store.open_space("model", "fingerprint", DIM).number
        for index in range(10):
            write_item(store, f"item {index}", {number: Embedding(VECTORS[0], None)})
        crashed = copy_of_crashed(tmp_path / "store", tmp_path / "crashed")
    (log,) = crashed.glob("*.log")
    os.truncate(log, log.stat().st_size - 10)
    with FeatureStore(crashed) as store:
        assert store.item("item 8") is not None
        assert store.item("item 9") is None


def test_a_store_without_current_is_refused_and_untouched(tmp_path):
    fill(tmp_path)
    (tmp_path / "CURRENT").unlink()
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(DataFolderError, match="no file CURRENT"):
        FeatureStore(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_a_record_that_cannot_be_parsed_is_named(tmp_path):
    FeatureStore(tmp_path).close()
    with leveldb(tmp_path) as database:
        database.put(keys.item_key("short"), msgpack.packb([1, 2]))
        database.put(keys.item_key("garbage"), b"\xc1")
        database.put(keys.label_key(1), b"\xff")
        database.put(keys.row_key(keys.VECTOR, 1, 1), b"123")
    with FeatureStore(tmp_path) as store:
        with pytest.raises(CorruptRecord, match="'short' should have 5 to 9 fields"):
            store.item("short")
        with pytest.raises(CorruptRecord, match="'garbage' cannot be parsed"):
            store.item("garbage")
        with pytest.raises(CorruptRecord, match="label 1 is not UTF-8"):
            store.item_id(1)
        with pytest.raises(CorruptRecord, match="3 bytes are not a float32 vector"):
            store.embedding(1, 1)


def test_a_damaged_file_that_is_needed_to_open_is_a_data_folder_error(in_tables, tmp_path):
    for name in ("CURRENT", "MANIFEST-*"):
        folder = tmp_path / name.strip("-*")
        shutil.copytree(in_tables, folder)
        (file,) = folder.glob(name)
        file.write_bytes(b"damage" * 20)
        with pytest.raises(DataFolderError, match=folder.name):
            FeatureStore(folder)


def test_labels_are_never_reused_after_a_reopen(tmp_path):
    seen = set()
    for _ in range(3):
        with FeatureStore(tmp_path) as store:
            number = store.open_space("model", "fingerprint", 1).number
            for name in "abc":
                label = write_item(store, name, {number: embedding(1)}).labels[number]
                assert label > max(seen, default=0)
                seen.add(label)


def test_labels_are_never_reused_after_a_crash(tmp_path):
    with FeatureStore(tmp_path / "live") as store:
        number = store.open_space("model", "fingerprint", 1).number
        for index in range(5000):  # more than one run of reserved labels
            with store.labels.allocate() as (greatest,):
                assert greatest == index + 1
        crashed = copy_of_crashed(tmp_path / "live", tmp_path / "crashed")
    with FeatureStore(crashed) as store:
        assert write_item(store, "a", {number: embedding(1)}).labels[number] > greatest
