"""A start that is stopped ends soon, in any of its long parts, and the next one continues."""

from __future__ import annotations

import signal
import struct
import threading
import time
from pathlib import Path

import plyvel
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_server.errors import ShuttingDown
from tests.support.processes import ServerProcess
from tests.support.servers import start_server
from tests.support.waiting import wait_for

STOP_SECONDS = 2.0
"""How soon a start ends after a signal."""


class StopAfter(threading.Event):
    """Set from the n-th time on that it is asked."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = checks

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0 or super().is_set()


def write_euclidesdb(folder: Path, items: int, length: int) -> None:
    database = plyvel.DB(str(folder), create_if_missing=True)
    metadata = pb.EuclidesDBMetadata(database_version=1)
    database.put(b"__euclidesdb_metadata", metadata.SerializeToString())
    with database.write_batch() as batch:
        for number in range(items):
            vectors = [pb.ItemVectors(model="m", features=[float(number)] * length)]
            made = pb.ItemData(item_id=number, metadata=b"kept", vectors=vectors)
            batch.put(struct.pack("=i", number), made.SerializeToString())
    database.close()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "m").mkdir(parents=True)
    (folder / "m" / "model.conf").write_text("[model]\nname = m\ninput = vector\nfeature_dim = 2\n")
    (folder / "program").mkdir()
    (folder / "program" / "model.conf").write_text(
        "[model]\nname = program\nfilename = large\nfeature_dim = 2\nprediction_dim = 2\n"
    )
    (folder / "program" / "large").write_bytes(bytes(3 << 20))
    return folder


def stops_before_a_start(data: Path, models: Path) -> int:
    """Stop a start at each of its checks in turn, until one serves; returns how many it had."""
    stops = 0
    while True:
        try:
            server = start_server(
                data, models, models_config={"names": "m"}, stop_wanted=StopAfter(stops)
            )
        except ShuttingDown:
            stops += 1
        else:
            server.close()
            return stops


def all_are_indexed(client: euclidesdb.Client) -> bool:
    index = client.models()[0].index
    return index is not None and index.unindexed_rows == 0 and not index.building


def test_a_start_can_be_stopped_at_any_moment(tmp_path, models):
    data = tmp_path / "data"
    write_euclidesdb(data, items=30, length=2)
    assert stops_before_a_start(data, models) > 30, "once for each item that was migrated"
    config = {"names": "m"}
    with (
        start_server(data, models, models_config=config, index={"compact_rows": 10}) as server,
        euclidesdb.Client(server.address) as client,
    ):
        client.add_vectors([f"new-{n}" for n in range(40)], [[n, 1] for n in range(40)], model="m")
        wait_for(lambda: all_are_indexed(client), "a segment of all rows")
        client.remove("new-0")
        client.add("last", vectors={"m": [100, 100]})
    files = {file: file.stat().st_mtime_ns for file in data.glob("segments/*/*/*")}
    assert stops_before_a_start(data, models) > 5, "in the files of the segment, and in the rows"
    assert {file: file.stat().st_mtime_ns for file in data.glob("segments/*/*/*")} == files
    with (
        start_server(data, models, models_config=config) as server,
        euclidesdb.Client(server.address) as client,
    ):
        assert client.models()[0].items == 70
        found = client.find_similar(vector=[100, 100], model="m", top_k=2)["m"]
        assert found.ids == ("last", "29")


def test_a_start_can_be_stopped_while_it_reads_the_programs_of_models(tmp_path, models):
    with pytest.raises(ShuttingDown, match="while it was starting"):
        start_server(tmp_path / "data", models, stop_wanted=StopAfter(3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_signal_during_a_long_migration_ends_the_server_soon(tmp_path, number):
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    write_euclidesdb(data, items=100_000, length=4)
    arguments = ["--models", models, "--data", data, "--address", "127.0.0.1:0"]
    with ServerProcess(*arguments, log=tmp_path / "log") as process:
        migrating = data / "leveldb.migrating"
        wait_for(lambda: [*migrating.glob("*.ldb"), *migrating.glob("*.log")], "items in the store")
        process.send(number)
        sent = time.monotonic()
        assert process.exit_code() == 0
        assert time.monotonic() - sent < STOP_SECONDS
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not (data / "leveldb").exists()
    assert not (data / "leveldb.original").exists()


def test_a_migration_that_was_stopped_is_done_by_the_next_start(tmp_path, models):
    data = tmp_path / "data"
    write_euclidesdb(data, items=30, length=2)
    with pytest.raises(ShuttingDown):
        start_server(data, models, models_config={"names": "m"}, stop_wanted=StopAfter(20))
    assert (data / "leveldb.migrating").is_dir()
    with (
        start_server(data, models, models_config={"names": "m"}) as server,
        euclidesdb.Client(server.address) as client,
    ):
        assert client.models()[0].items == 30
        assert not (data / "leveldb.migrating").exists()
