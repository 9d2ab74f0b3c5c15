"""`Shutdown`: who may call it, and that a refresh disturbs no other call."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import generations, wait_for

STOP, REFRESH = 0, 1
LOOPBACK, ANYONE = "127.0.0.1:0", "0.0.0.0:0"

# address, allow_remote_shutdown, may stop, may refresh
ALLOWED = [
    (LOOPBACK, None, True, True),
    (LOOPBACK, True, True, True),
    (LOOPBACK, False, False, False),
    ("localhost:0", None, True, True),
    (ANYONE, None, False, True),
    (ANYONE, True, True, True),
    (ANYONE, False, False, False),
]


@pytest.fixture
def started(tmp_path):
    """Starts a server of no models; returns where it is, and the event that it sets to stop."""
    servers = []

    def start(address, allow):
        (tmp_path / "models").mkdir()
        stop_wanted = threading.Event()
        server = start_server(
            tmp_path / "data", tmp_path / "models", stop_wanted=stop_wanted,
            server={"address": address, "allow_remote_shutdown": allow},
            auth={"allow_anonymous": True},
        )  # fmt: skip
        servers.append(server)
        port = server.address.rpartition(":")[2]
        return f"127.0.0.1:{port}", stop_wanted

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(("address", "allow", "may_stop", "may_refresh"), ALLOWED)
def test_shutdown_is_for_whom_the_configuration_lets(
    started, address, allow, may_stop, may_refresh
):
    target, stop_wanted = started(address, allow)
    with Stubs(target) as stubs:
        for kind, may in ((REFRESH, may_refresh), (STOP, may_stop)):
            request = pb.ShutdownRequest(shutdown_type=kind)
            if may:
                assert stubs.legacy.Shutdown(request).shutdown is True
            else:
                refused = refusal(stubs.legacy.Shutdown, request)
                assert refused.status is grpc.StatusCode.PERMISSION_DENIED
                assert refused.reason == "not_allowed"
                assert "allow_remote_shutdown" in refused.message
            assert stop_wanted.is_set() == (kind == STOP and may_stop)


def test_a_refresh_answers_at_once_and_searches_go_on_meanwhile(tmp_path):
    data, models = tmp_path / "data", tmp_path / "models"
    save_vector_space(models, feature_dim=12)
    rows = np.random.default_rng(5).random((400, 12), np.float32)
    with (
        # a forest so large that it takes a while to grow
        start_server(data, models, engine="annoy", engines={"annoy": {"trees": "500"}},
                     database={"sync": False}) as server,
        Stubs(server.address) as stubs,
        euclidesdb.Client(server.address) as client,
        ThreadPoolExecutor(8) as pool,
    ):  # fmt: skip
        for _ in pool.map(
            lambda row: client.add(f"{row}", vectors={"given": rows[row]}), range(len(rows))
        ):
            pass
        assert stubs.legacy.Shutdown(pb.ShutdownRequest(shutdown_type=REFRESH)).shutdown is True
        searches = 0
        while not generations(data):
            found = client.find_similar(vector=rows[3], model="given", top_k=1)["given"]
            assert found.ids == ("3",)
            searches += 1
        assert searches > 1, "the build was over before a search was made: it proves nothing"
        client.add("new", vectors={"given": rows[0] + 9})
        wait_for(lambda: client.models()[0].items == 401, "the new item")
