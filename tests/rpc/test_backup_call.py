"""The Backup call: the files of one moment, as fast as they are asked for, one call at a time."""

from __future__ import annotations

import hashlib
import queue
import threading

import grpc
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc
from euclidesdb_server.rpc import v1_backup
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for


@pytest.fixture
def models(tmp_path):
    save_vector_space(tmp_path / "models", "vectors", feature_dim=2)
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path, models):
    with start_server(tmp_path / "data", models) as started:
        yield started


@pytest.fixture
def client(server):
    with euclidesdb.Client(server.address) as opened:
        opened.add("a", vectors={"vectors": [1, 2]})
        yield opened


def received(client, known=()):
    with client.backup(known) as backup:
        return {
            file.path: None if file.is_known else b"".join(file.pieces()) for file in backup.files()
        }


def test_a_backup_has_the_data_and_the_models(client, models):
    with client.backup() as backup:
        info = backup.info
        files = {file.path: b"".join(file.pieces()) for file in backup.files()}
    assert files["models/vectors/model.conf"] == (models / "vectors/model.conf").read_bytes()
    assert {"data/leveldb/CURRENT"} < {*files}
    assert (info.files, info.bytes) == (len(files), sum(map(len, files.values())))
    (model,) = info.models
    assert (model.name, model.folder) == ("vectors", "vectors")
    assert model.fingerprint == client.models()[0].fingerprint
    assert info.search["[server] search_engine"] == "exact"
    assert info.warnings == ()
    assert 0 < info.held_seconds < 10


def test_what_the_caller_has_is_not_sent(client):
    first = received(client)
    known = [(hashlib.sha256(content).digest(), len(content)) for content in first.values()]
    second = received(client, known)
    assert {*second} == {*first}
    assert {*second.values()} == {None}
    client.add("b", vectors={"vectors": [3, 4]})
    third = received(client, known)
    assert third.pop(next(name for name in third if name.endswith(".log"))) is not None
    assert {*third.values()} == {None}


def test_a_second_backup_is_refused_until_the_first_is_closed(client):
    with client.backup() as backup:
        for file in backup.files():
            assert b"".join(file.pieces()) is not None
        with pytest.raises(euclidesdb.BackupInProgress, match="another backup of this server"):
            client.backup()
    wait_for(lambda: received_or_none(client) is not None, "another backup")


def received_or_none(client):
    try:
        return received(client)
    except euclidesdb.BackupInProgress:
        return None


def test_a_caller_that_leaves_releases_the_files(client, tmp_path):
    checkpoint = tmp_path / "data" / "backup.checkpoint"
    with client.backup():
        assert checkpoint.exists()
    wait_for(lambda: not checkpoint.exists(), "the end of the checkpoint")


def test_the_server_sends_no_more_than_it_was_asked_for(server):
    requests = queue.SimpleQueue()
    requests.put(pb.BackupRequest(begin=True, replies=2))
    with grpc.insecure_channel(server.address) as channel:
        call = pb_grpc.FeatureDatabaseStub(channel).Backup(iter(requests.get, None))
        assert [next(call).WhichOneof("part") for _ in range(2)] == ["start", "file"]
        more = threading.Thread(target=next, args=(call,), daemon=True)
        more.start()
        more.join(0.5)
        assert more.is_alive()
        requests.put(pb.BackupRequest(replies=1))
        more.join(100)
        assert not more.is_alive()
        requests.put(None)
        with pytest.raises(grpc.RpcError) as failed:
            next(call)
    assert "ended before the backup was complete" in str(failed.value.details())


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "the call ended before `begin` was set"),
        ([pb.BackupRequest(known=[pb.KnownFile(sha256=b"x")])], "known.sha256 has 1 bytes, not 32"),
    ],
)
def test_a_call_that_is_not_a_backup_is_refused(server, requests, message):
    with grpc.insecure_channel(server.address) as channel:
        call = pb_grpc.FeatureDatabaseStub(channel).Backup(iter(requests))
        with pytest.raises(grpc.RpcError) as failed:
            next(call)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(failed.value.details())


def test_a_caller_that_asks_for_nothing_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(v1_backup.backup_stream, "__kwdefaults__", {"idle_seconds": 0.2})
    requests = queue.SimpleQueue()
    requests.put(pb.BackupRequest(begin=True, replies=1))
    with grpc.insecure_channel(server.address) as channel:
        call = pb_grpc.FeatureDatabaseStub(channel).Backup(iter(requests.get, None))
        next(call)
        with pytest.raises(grpc.RpcError) as failed:
            next(call)
        requests.put(None)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "asked for nothing for 0.2 seconds" in str(failed.value.details())
    wait_for(lambda: not (tmp_path / "data/backup.checkpoint").exists(), "the end of the backup")


def test_a_server_may_forbid_backups(tmp_path, models):
    with (
        start_server(tmp_path / "data", models, server={"allow_backups": False}) as server,
        euclidesdb.Client(server.address) as client,
        pytest.raises(euclidesdb.NotAllowed, match="allow_backups"),
    ):
        client.backup()


def test_files_that_are_not_those_that_were_loaded_are_reported(client, models):
    conf = models / "vectors" / "model.conf"
    conf.write_text(conf.read_text() + "version = 2\n")
    with client.backup() as backup:
        (warning,) = backup.info.warnings
    assert "'vectors': the files in its folder are not those that were loaded" in warning
