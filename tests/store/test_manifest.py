"""The end of a torn MANIFEST is cut off if the files that the rest of it names are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.log_format import read_records
from euclidesdb_server.store.manifest import read_manifest
from tests.support.leveldb_logs import encoded, replaced, varint
from tests.support.stores import copy_of_crashed

BUFFER = 64 << 10


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> tuple[Path, dict[bytes, bytes]]:
    """A LevelDB that has compacted tables, as a crash leaves it, and what is in it."""
    folder = tmp_path_factory.mktemp("compacted")
    database = LevelDB(folder / "live", sync=True, write_buffer_bytes=BUFFER)
    expected = {}
    while not compacted(folder / "live"):
        number = len(expected)
        key, value = b"%06d" % (number * 7919 % 100_000), b"%d" % number * 300
        batch = database.batch()
        batch.put(key, value)
        database.write(batch, "filling", sync=False)
        expected[key] = value
    copy = copy_of_crashed(folder / "live", folder / "copy")
    database.close()
    return copy, expected


def manifest_of(folder: Path) -> Path:
    return folder / (folder / "CURRENT").read_text().strip()


def compacted(folder: Path) -> bool:
    """Whether the last record of the MANIFEST is that of a compaction of tables."""
    data = manifest_of(folder).read_bytes()
    last, before = read_manifest(data), read_manifest(data[:-1])
    return bool(before.tables - last.tables) and last.end == len(data)


def check(folder: Path, expected: dict[bytes, bytes]) -> None:
    database = LevelDB(folder, sync=True, write_buffer_bytes=BUFFER)
    found = {key: value for rows in database.scan(b"", b"~") for key, value in rows}
    database.close()
    assert found == expected


def test_a_manifest_says_what_leveldb_says(crashed):
    folder, _ = crashed
    manifest = read_manifest(manifest_of(folder).read_bytes())
    assert manifest.problem is None
    assert {f"{number:06d}.ldb" for number in manifest.tables} == {
        file.name for file in folder.glob("*.ldb")
    }
    assert min(folder.glob("*.log")).name == f"{manifest.log_number:06d}.log"
    numbers = [int(file.stem) for file in folder.glob("[0-9]*.*")]
    assert max(numbers) < manifest.next_file


@pytest.mark.parametrize("end", ["half", "garbage", "zeros"])
def test_a_torn_record_is_cut_off_if_all_files_are_there(crashed, tmp_path, end):
    """Whether it was to be that of a log that became a table, or of a compaction of tables."""
    folder, expected = crashed
    copy = replaced(folder, tmp_path / "leveldb")
    manifest = manifest_of(copy)
    data = manifest.read_bytes()
    record = encoded([bytes([2]) + varint(999) + bytes([9, 0, 3]) + varint(1000) + bytes(2000)])
    rest = {"half": record[:900], "garbage": b"\x93" * 300, "zeros": bytes(300)}[end]
    manifest.write_bytes(data + rest)
    check(copy, expected)
    (kept,) = tmp_path.glob("leveldb.torn/*")
    assert kept.name == f"{manifest.name}-from-{len(data)}"
    assert kept.read_bytes() == rest


def test_a_record_that_allowed_files_to_be_deleted_was_not_torn(crashed, tmp_path):
    folder, _ = crashed
    copy = replaced(folder, tmp_path / "leveldb")
    manifest = manifest_of(copy)
    data = manifest.read_bytes()
    *_, last = read_records(data)
    manifest.write_bytes(data[: last.end - 5])
    with pytest.raises(DataFolderError, match=rf"{manifest.name} at byte {last.start}: .* missing"):
        LevelDB(copy, sync=True)
    assert manifest.read_bytes() == data[: last.end - 5]


def test_a_manifest_cut_anywhere_loses_nothing_or_is_refused(crashed, tmp_path):
    folder, expected = crashed
    manifest = manifest_of(folder)
    data = manifest.read_bytes()
    refused = 0
    for end in [*range(0, len(data), 97), len(data) - 1]:
        copy = replaced(folder, tmp_path / "leveldb")
        (copy / manifest.name).write_bytes(data[:end])
        try:
            check(copy, expected)
        except DataFolderError:
            refused += 1
    assert refused


def test_a_record_without_meaning_is_damage(crashed, tmp_path):
    folder, _ = crashed
    copy = replaced(folder, tmp_path / "leveldb")
    manifest = manifest_of(copy)
    records = [record.content for record in read_records(manifest.read_bytes())]
    for nonsense in (b"\x63", b"\x02", b"\x01\x70ab"):
        manifest.write_bytes(encoded([*records, nonsense]))
        with pytest.raises(DataFolderError, match=f"{manifest.name}: .* cannot be parsed"):
            LevelDB(copy, sync=True)


def test_a_table_that_is_missing_is_named(crashed, tmp_path):
    folder, _ = crashed
    copy = replaced(folder, tmp_path / "leveldb")
    table = max(copy.glob("*.ldb"))
    table.unlink()
    with pytest.raises(DataFolderError, match=f"{table.name} is missing"):
        LevelDB(copy, sync=True)
