"""Databases of EuclidesDB (C++) are taken over whole, or left alone."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store import FeatureStore, ModelVersion, migrate
from tests.support.stores import stored_rows

METADATA_KEY = b"__euclidesdb_metadata"
VERSIONS = {"resnet": ModelVersion("now", 3)}


def item(item_id: int, **features: list[float]) -> pb.ItemData:
    return pb.ItemData(
        item_id=item_id,
        metadata=f"about {item_id}".encode(),
        vectors=[
            pb.ItemVectors(model=model, features=values, predictions=[0.25, 0.75])
            for model, values in features.items()
        ],
    )


def write_euclidesdb(folder: Path, *items: pb.ItemData, version: int = 1) -> None:
    """A database as EuclidesDB's databasemanager.cpp writes it."""
    database = plyvel.DB(str(folder), create_if_missing=True, compression="snappy")
    metadata = pb.EuclidesDBMetadata(database_version=version)
    database.put(METADATA_KEY, metadata.SerializeToString())
    for each in items:
        database.put(struct.pack("=i", each.item_id), each.SerializeToString())
    database.close()


def contents(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.is_file()
    }


def test_ids_metadata_vectors_and_predictions_are_kept(tmp_path):
    items = [item(i, resnet=[i, 0.5, -i]) for i in (0, 7, -1, 2**31 - 1, -(2**31))]
    write_euclidesdb(tmp_path, *items)
    migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    with FeatureStore(tmp_path / "leveldb") as store:
        (space,) = store.spaces()
        assert (space.model, space.fingerprint, space.adopted) == ("resnet", "now", True)
        for each in items:
            record = store.item(str(each.item_id))
            assert record.metadata == each.metadata
            embedding = store.embedding(space.number, record.labels[space.number])
            assert embedding.vector.tolist() == list(each.vectors[0].features)
            assert embedding.predictions.tolist() == [0.25, 0.75]


def test_many_items_in_tables_of_several_levels_are_kept(tmp_path):
    write_euclidesdb(tmp_path, *(item(i, resnet=[i, 0, 0]) for i in range(3000)))
    database = plyvel.DB(str(tmp_path))
    database.compact_range()
    database.close()
    assert list(tmp_path.glob("*.ldb"))
    migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    with FeatureStore(tmp_path / "leveldb") as store:
        assert len(stored_rows(store, 1, 3)) == 3000


def test_the_original_is_not_touched(tmp_path):
    write_euclidesdb(tmp_path, item(1, resnet=[1, 2, 3]))
    before = contents(tmp_path)
    migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    assert contents(tmp_path) == before


def test_vectors_of_another_length_or_an_unknown_model_get_a_space_of_unknown_origin(tmp_path):
    write_euclidesdb(tmp_path, item(1, resnet=[1, 2], vgg=[1, 2, 3, 4]))
    migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    with FeatureStore(tmp_path / "leveldb") as store:
        found = {(space.model, space.fingerprint, space.feature_dim) for space in store.spaces()}
    assert found == {("resnet", "euclidesdb-2", 2), ("vgg", "euclidesdb-4", 4)}


def test_a_migration_that_was_interrupted_starts_again(tmp_path):
    write_euclidesdb(tmp_path, item(1, resnet=[1, 2, 3]))
    with FeatureStore(tmp_path / "leveldb.migrating") as store:
        store.open_space("half", "done", 1)
    (tmp_path / "leveldb.original").mkdir()
    migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    with FeatureStore(tmp_path / "leveldb") as store:
        assert [space.model for space in store.spaces()] == ["resnet"]
    assert {entry.name for entry in tmp_path.iterdir() if entry.is_dir()} == {"leveldb"}


def test_a_record_that_cannot_be_parsed_is_named_and_nothing_is_taken_over(tmp_path):
    write_euclidesdb(tmp_path, item(1, resnet=[1, 2, 3]))
    database = plyvel.DB(str(tmp_path))
    database.put(struct.pack("=i", 42), b"\xff\xff\xff")
    database.close()
    before = contents(tmp_path)
    with pytest.raises(DataFolderError, match="item 42"):
        migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    assert not (tmp_path / "leveldb").exists()
    assert contents(tmp_path) == before


def test_a_damaged_table_is_an_error_that_names_the_database(tmp_path):
    write_euclidesdb(tmp_path, *(item(i, resnet=[i, 0, 0]) for i in range(500)))
    database = plyvel.DB(str(tmp_path))
    database.compact_range()
    database.close()
    (table,) = tmp_path.glob("*.ldb")
    damaged = bytearray(table.read_bytes())
    damaged[100] ^= 0xFF
    table.write_bytes(damaged)
    with pytest.raises(DataFolderError, match=str(tmp_path)):
        migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
    assert not (tmp_path / "leveldb").exists()


def test_the_leveldb_of_another_program_is_left_alone(tmp_path):
    database = plyvel.DB(str(tmp_path), create_if_missing=True)
    database.put(b"theirs", b"1")
    database.close()
    before = contents(tmp_path)
    with pytest.raises(DataFolderError, match="another program"):
        migrate(tmp_path, tmp_path / "leveldb", {})
    assert contents(tmp_path) == before


def test_another_database_version_is_refused(tmp_path):
    write_euclidesdb(tmp_path, version=2)
    with pytest.raises(DataFolderError, match="version 2"):
        migrate(tmp_path, tmp_path / "leveldb", {})


def test_a_database_that_euclidesdb_has_open_is_refused(tmp_path):
    write_euclidesdb(tmp_path, item(1, resnet=[1, 2, 3]))
    holder = (
        "import plyvel, sys; database = plyvel.DB(sys.argv[1]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(DataFolderError, match="in use"):
            migrate(tmp_path, tmp_path / "leveldb", VERSIONS)
        process.stdin.close()
