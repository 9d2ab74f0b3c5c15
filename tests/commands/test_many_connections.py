"""More connections than there may be: they are refused with a reason, and the data is not."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

CONF = """\
[server]
address = 127.0.0.1:0
search_engine = exact
max_connections = {max_connections}
[models]
dir_path = {folder}/models
[database]
db_path = {folder}/data
write_buffer_kib = 64
"""
OPEN_FILES = 200


@pytest.mark.parametrize(
    ("max_connections", "permitted", "reason"),
    [
        (30, 30, r"30 connections are open: \[server\] max_connections permits no more"),
        (
            10_000,
            100,
            r"100 connections are open: the limit of open files \(ulimit -n\) permits no",
        ),
    ],
)
def test_connections_beyond_the_limit_are_refused_and_writes_are_not(
    tmp_path, max_connections, permitted, reason
):
    save_vector_space(tmp_path / "models", "given", feature_dim=64)
    conf, log = tmp_path / "euclidesdb.conf", tmp_path / "log"
    conf.write_text(CONF.format(folder=tmp_path, max_connections=max_connections))
    few = ("sh", "-c", f'ulimit -n {OPEN_FILES} && exec "$@"', "sh")
    with ServerProcess("-c", conf, log=log, prefix=few) as process, ExitStack() as opened:
        address = process.address()
        host, port = address.split(":")
        db = opened.enter_context(euclidesdb.Client(address, timeout=60))
        db.add("first", vectors={"given": np.ones(64)})
        sockets = [
            opened.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(2 * OPEN_FILES)
        ]
        wait_for(lambda: "connections are refused" in log.read_text(), "the log")
        refused = len(sockets) - permitted + 1  # the client has one, too
        wait_for(lambda: closed(sockets) == refused, "the end of those that are refused")
        with (
            Stubs(address, own_connection=True) as stubs,
            pytest.raises(grpc.RpcError, match=reason) as caught,
        ):
            stubs.v1.ListModels(v1.ListModelsRequest(), timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for number in range(100):  # a new table every few of them
            db.add(f"{number}", vectors={"given": np.ones(64)}, metadata=bytes(20_000))
        assert log.read_text().count("connections are refused") == 1
        for each in sockets:
            each.close()
        wait_for(lambda: can_list(address), "a connection")
        assert db.models()[0].items == 101
    assert "Traceback" not in log.read_text()


def closed(sockets: list[socket.socket]) -> int:
    """How many of them the server has closed."""
    count = 0
    for each in sockets:
        each.setblocking(False)
        try:
            while data := each.recv(1 << 16):
                assert data
            count += 1
        except BlockingIOError:
            pass
        except ConnectionResetError:
            count += 1
    return count


def can_list(address: str) -> bool:
    """Whether a call on a new connection is answered."""
    with Stubs(address, own_connection=True) as stubs:
        try:
            stubs.v1.ListModels(v1.ListModelsRequest(), timeout=60)
        except grpc.RpcError:
            return False
    return True
