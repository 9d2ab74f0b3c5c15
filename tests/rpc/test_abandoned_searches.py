"""A client leaves a huge search: the server soon stops working on it, and serves others."""

from __future__ import annotations

import signal
import threading
import time

import grpc
import numpy as np
import psutil
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs, refusal
from tests.support.processes import ServerProcess
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

DIM = 32
ROWS = 60_000
QUERIES = 50_000
"""With ROWS: ten seconds of an exact search and more."""

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = exact
[models]
dir_path = {models}
[database]
db_path = {data}
sync = false
[index]
compact_rows = 1000000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server process with ROWS rows in the space `given`."""
    folder = tmp_path_factory.mktemp("abandoned")
    save_vector_space(folder / "models", feature_dim=DIM)
    conf = folder / "euclidesdb.conf"
    conf.write_text(CONFIG.format(models=folder / "models", data=folder / "data"))
    with ServerProcess("-c", conf, log=folder / "log") as process:
        vectors = np.random.default_rng(1).normal(size=(ROWS, DIM)).astype(np.float32)
        with euclidesdb.Client(process.address()) as client:
            client.add_vectors([f"item {row}" for row in range(ROWS)], vectors, model="given")
        yield process


@pytest.fixture
def stubs(server):
    with Stubs(server.address()) as stubs:
        yield stubs


def huge_search(count=QUERIES, dim=DIM):
    queries = np.random.default_rng(2).normal(size=(count, dim)).astype("<f4")
    values = v1.Array(data_type=v1.DATA_TYPE_FLOAT32, shape=queries.shape, data=queries.tobytes())
    return v1.FindSimilarBatchRequest(
        vectors=v1.VectorQueries(values=values), models=["given"], top_k=10
    )


def cpu_seconds(server):
    used = psutil.Process(server.pid).cpu_times()
    return used.user + used.system


def seconds_until_idle(server):
    """How long the server computes on: until it is idle for a quarter of a second."""
    started = time.monotonic()

    def idle():
        before = cpu_seconds(server)
        threading.Event().wait(0.25)
        return cpu_seconds(server) - before < 0.05

    wait_for(idle, "an idle server")
    return time.monotonic() - started


def test_the_server_stops_searching_soon_after_a_client_has_left(server, stubs):
    before = cpu_seconds(server)
    running = stubs.v1.FindSimilarBatch.future(huge_search())
    wait_for(lambda: cpu_seconds(server) - before > 1, "a search in progress")
    with euclidesdb.Client(server.address()) as client:  # others are served meanwhile
        assert client.find_similar(id="item 7", model="given", top_k=1)["given"].ids
    assert not running.done()
    running.cancel()
    assert seconds_until_idle(server) < 4


def test_the_server_stops_searching_soon_after_the_deadline(server, stubs):
    with pytest.raises(grpc.RpcError) as ended:
        stubs.v1.FindSimilarBatch(huge_search(), timeout=1)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert seconds_until_idle(server) < 4


def test_a_call_beyond_the_configured_comparisons_is_refused(tmp_path):
    save_vector_space(tmp_path / "models")
    limit = {"max_comparisons": 10}
    with (
        start_server(tmp_path / "data", tmp_path / "models", server=limit) as server,
        euclidesdb.Client(server.address) as client,
        Stubs(server.address) as stubs,
    ):
        for number in range(2):
            client.add(str(number), vectors={"given": [number, 0, 0]})
        refused = refusal(stubs.v1.FindSimilarBatch, huge_search(6, 3))
        assert (refused.status, refused.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_request",
        )
        assert "12 comparisons" in refused.message
        assert "[server] max_comparisons permits 10" in refused.message
        assert len(stubs.v1.FindSimilarBatch(huge_search(5, 3)).answers[0].counts) == 5


WIDE = """
[server]
address = 127.0.0.1:0
search_engine = faiss
shutdown_grace = 0.2
[models]
dir_path = {models}
[database]
db_path = {data}
sync = false
[index]
compact_rows = {rows}
recall_interval = 0
[faiss]
index_type = IVF64,Flat
nprobe = 64
"""


def test_a_stop_ends_a_huge_search_of_an_index_soon_after_the_grace(tmp_path):
    """Every list is searched, which a search in an index with nprobe = 1 does not take long for."""
    save_vector_space(tmp_path / "models", feature_dim=DIM)
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(WIDE.format(models=tmp_path / "models", data=tmp_path / "data", rows=ROWS))
    with (
        ServerProcess("-c", conf, log=tmp_path / "log") as process,
        Stubs(process.address()) as stubs,
    ):
        vectors = np.random.default_rng(1).normal(size=(ROWS, DIM)).astype(np.float32)
        with euclidesdb.Client(process.address()) as client:
            client.add_vectors([f"item {row}" for row in range(ROWS)], vectors, model="given")

            def is_indexed():
                (model,) = client.models()
                index = model.index
                return not index.unindexed_rows and index.segments == 1 and not index.building

            wait_for(is_indexed, "an index of all rows")
        request = huge_search(200_000)
        request.top_k = 2
        before = cpu_seconds(process)
        running = stubs.v1.FindSimilarBatch.future(request)
        wait_for(lambda: cpu_seconds(process) - before > 1, "a search in progress")
        started = time.monotonic()
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
        assert time.monotonic() - started < 0.2 + 2.5  # a second and a loaded machine
        assert running.exception() is not None
