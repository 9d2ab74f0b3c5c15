"""A database of every earlier format, as its own server wrote it, opens and answers as it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgpack
import pytest

import euclidesdb
from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store import FeatureStore, keys
from euclidesdb_server.store.format_version import FORMAT_VERSION
from euclidesdb_server.store.leveldb import LevelDB
from tests.store.formats.make import answers_of, more_of
from tests.support.servers import start_server
from tests.support.waiting import wait_for

ITEM_FIELDS = 9
FORMATS = Path(__file__).with_name("formats")
LATEST = f"{FORMAT_VERSION}-everything"
"""With each kind of record and field that this server writes."""
NAMES = ["euclidesdb", *(f"{version}" for version in range(1, FORMAT_VERSION + 1)), LATEST]


@pytest.mark.parametrize("name", NAMES)
def test_a_database_of_every_format_opens_and_answers_as_before(tmp_path, name):
    folder = shutil.copytree(FORMATS / name, tmp_path / name)
    expected = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    for _ in range(2):  # as it was, and as this server has left it
        with (
            start_server(folder / "data", folder / "models", strict=True) as server,
            euclidesdb.Client(server.address) as client,
        ):
            assert answers_of(client) == expected
            more = more_expected(folder)
            if more:
                wait_until_ready(client, "uneven")
                assert more_of(client) == more
            assert client.count() == len(expected["items"]) + len(more.get("items", ()))
            if name != "euclidesdb":  # which has no attributes
                items = [*expected["items"].values(), *more.get("items", {}).values()]
                assert client.count("n < 10") == sum(item["attributes"]["n"] < 10 for item in items)
    database = LevelDB(folder / "data" / "leveldb", sync=True)
    assert database.get(keys.DATABASE) == msgpack.packb([FORMAT_VERSION])
    database.close()


def more_expected(folder):
    file = folder / "more.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def wait_until_ready(client, model):
    wait_for(
        lambda: any((each.name, each.state) == (model, "ready") for each in client.models()),
        f"the model {model}",
    )


def test_the_latest_format_is_kept_with_each_kind_of_record_and_field(tmp_path):
    folder = shutil.copytree(FORMATS / LATEST, tmp_path / "latest") / "data" / "leveldb"
    written = {
        name: value
        for name, value in vars(keys).items()
        if isinstance(value, bytes) and len(value) == 1
    }
    database = LevelDB(folder, sync=True)
    stored = [each for some in database.scan(b"", b"\xff") for each in some]
    kinds = {key[:1] for key, _ in stored}
    fields = {
        len(msgpack.unpackb(value, strict_map_key=False))
        for key, value in stored
        if key.startswith(keys.ITEM)
    }
    database.close()
    missing = {name for name, kind in written.items() if kind not in kinds}
    assert missing <= {"DROPPED_SPACE", "DELETED_ROWS"}  # there only while they are worked on
    assert max(fields) == ITEM_FIELDS


def test_a_format_is_kept_for_each_version():
    kept = {path.name for path in FORMATS.iterdir() if (path / "answers.json").is_file()}
    assert kept == {*NAMES}
    assert sum(path.stat().st_size for path in FORMATS.rglob("*") if path.is_file()) < 200_000


def test_a_newer_format_is_refused_by_name(tmp_path):
    folder = shutil.copytree(FORMATS / f"{FORMAT_VERSION}", tmp_path / "newer") / "data" / "leveldb"
    database = LevelDB(folder, sync=True)
    batch = database.batch()
    batch.put(keys.DATABASE, msgpack.packb([FORMAT_VERSION + 1]))
    database.write(batch, "a newer server's format")
    database.close()
    with pytest.raises(
        DataFolderError,
        match=f"{folder} has format {FORMAT_VERSION + 1}, but this server reads format "
        f"{FORMAT_VERSION}",
    ):
        FeatureStore(folder)
