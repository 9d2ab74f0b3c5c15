"""Databases of EuclidesDB (C++) are taken over whole, or left alone."""

from __future__ import annotations

import hashlib
import math
import struct
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import plyvel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_server.errors import DataFolderError, ShuttingDown
from euclidesdb_server.store import FeatureStore, ModelVersion, migrate, migration
from euclidesdb_server.store.records import RecordScan
from euclidesdb_server.store.verify import check_store
from euclidesdb_server.values.stop import CheckStop
from tests.support.euclidesdb_data import write_euclidesdb
from tests.support.leveldb_logs import newest_log
from tests.support.stores import stored_rows

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


def test_a_migration_writes_with_the_buffer_that_it_is_given(tmp_path):
    write_euclidesdb(tmp_path, *(item(i, resnet=[i, 0, 0]) for i in range(1000)))
    migrate(tmp_path, tmp_path / "once", VERSIONS)
    migrate(tmp_path, tmp_path / "often", VERSIONS, write_buffer_bytes=64 << 10)
    assert newest_log(tmp_path / "often") > newest_log(tmp_path / "once")


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


def migrated(folder: Path, *items: pb.ItemData) -> FeatureStore:
    write_euclidesdb(folder, *items)
    migrate(folder, folder / "leveldb", VERSIONS)
    return FeatureStore(folder / "leveldb")


def vectors_of(store: FeatureStore, item_id: str) -> dict[tuple[str, int], list[float]]:
    """The vectors of an item, by model and length."""
    record = store.item(item_id)
    assert record is not None
    found = {}
    for number, label in record.labels.items():
        space = store.space(number)
        values = store.vector(number, label)
        assert values is not None
        found[space.model, space.feature_dim] = values.tolist()
    return found


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_is_left_out_and_named_and_its_item_stays(
    tmp_path, caplog, bad
):
    damaged = item(7, resnet=[1, bad, 3], vgg=[4, 5])
    with migrated(tmp_path, item(1, resnet=[1, 2, 3]), damaged) as store:
        record = store.item("7")
        assert record is not None
        assert record.metadata == b"about 7"
        assert vectors_of(store, "7") == {("vgg", 2): [4, 5]}
        assert [row for row, _ in stored_rows(store, 1, 3).values()] == ["1"]
    assert "left out: the vector of item 7, model 'resnet': NaN or infinity" in caplog.text
    assert "left out 1 vectors and 0 predictions" in caplog.text


def test_an_item_all_of_whose_vectors_are_left_out_stays(tmp_path):
    with migrated(tmp_path, item(7, resnet=[math.nan, 1, 2])) as store:
        record = store.item("7")
        assert record is not None
        assert (record.metadata, record.labels) == (b"about 7", {})
        assert store.spaces() == []


def test_predictions_that_are_not_finite_are_left_out_and_the_vector_stays(tmp_path, caplog):
    damaged = item(7, resnet=[1, 2, 3])
    damaged.vectors[0].predictions[1] = math.nan
    with migrated(tmp_path, damaged) as store:
        embedding = store.embedding(1, 1)
        assert embedding is not None
        assert embedding.vector.tolist() == [1, 2, 3]
        assert embedding.predictions is None
    assert "left out: the predictions of item 7, model 'resnet': NaN or infinity" in caplog.text
    assert "left out 0 vectors and 1 predictions" in caplog.text


def test_only_the_first_that_are_left_out_are_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(migration, "MAX_LOGGED", 3)
    with migrated(tmp_path, *(item(i, resnet=[math.nan]) for i in range(10))) as store:
        assert store.spaces() == []
    assert caplog.text.count("left out: ") == 3
    assert "left out 10 vectors" in caplog.text


VALUES = st.lists(st.floats(width=32), max_size=3)
ITEMS = st.lists(
    st.builds(
        pb.ItemData,
        item_id=st.integers(-(2**31), 2**31 - 1),
        metadata=st.binary(max_size=20),
        vectors=st.lists(
            st.builds(
                pb.ItemVectors,
                model=st.sampled_from(
                    ["resnet", "vgg", "", "a@b", "two\nlines", "\U0001f600" * 90]
                ),
                features=VALUES,
                predictions=VALUES,
            ),
            max_size=4,
        ),
    ),
    max_size=6,
    unique_by=lambda made: made.item_id,
)


@given(ITEMS)
@settings(max_examples=25, deadline=None)
def test_whatever_euclidesdb_stored_a_migrated_store_is_sound(items):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with migrated(folder, *items) as store:
            for each in items:
                expected = {
                    (made.model, len(made.features)): list(made.features)
                    for made in each.vectors
                    if made.features and all(map(math.isfinite, made.features))
                }
                assert vectors_of(store, str(each.item_id)) == expected
        with closing(RecordScan.open(folder / "leveldb")) as records:
            report = check_store(records, {})
        assert (report.findings, report.items) == ([], len(items))


def stop_after(checks: int) -> CheckStop:
    """Raises ShuttingDown after that number of checks."""
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise ShuttingDown("stopped")

    return check


def test_a_migration_can_be_stopped_at_any_moment_and_starts_again(tmp_path):
    write_euclidesdb(tmp_path, *(item(i, resnet=[i, 0, 0]) for i in range(5)))
    before = contents(tmp_path)
    stops = 0
    while not (tmp_path / "leveldb").exists():
        try:
            migrate(tmp_path, tmp_path / "leveldb", VERSIONS, stop_after(stops))
        except ShuttingDown:
            stops += 1
            assert not (tmp_path / "leveldb").exists()
            assert not (tmp_path / "leveldb.original").exists()
    assert stops > 5, "at each of the items, and before"
    assert contents(tmp_path) == before
    with FeatureStore(tmp_path / "leveldb") as store:
        assert len(stored_rows(store, 1, 3)) == 5
