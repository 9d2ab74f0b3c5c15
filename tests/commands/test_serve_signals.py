"""The server process and the signals that end it: what is under way is finished."""

from __future__ import annotations

import signal

import grpc
import pytest
from PIL import Image

from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs
from tests.support.images import encoded, noise
from tests.support.models import SlowOnWhite, save_model
from tests.support.processes import ServerProcess
from tests.support.waiting import wait_for

WHITE = encoded(Image.new("RGB", (4, 4), "white"))


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow-models")
    save_model(folder, "slow", module=SlowOnWhite(rounds=600_000))
    return folder


@pytest.fixture
def process(slow_models, tmp_path):
    arguments = ["--models", slow_models, "--data", tmp_path / "data", "--address", "127.0.0.1:0"]
    with ServerProcess(*arguments, log=tmp_path / "log") as process:
        yield process


def is_unavailable(stubs):
    try:
        stubs.v1.ListModels(v1.ListModelsRequest(), timeout=10)
    except grpc.RpcError as error:
        # a call that arrives in the very moment may be CANCELLED: grpc/grpc issue 41785
        if error.code() is grpc.StatusCode.CANCELLED:
            return False
        return error.code() is grpc.StatusCode.UNAVAILABLE or pytest.fail(f"{error}")
    return False


def test_sigterm_lets_a_call_in_flight_finish_and_refuses_new_ones(process):
    with Stubs(process.address()) as stubs:
        slow = stubs.v1.AddItem.future(
            v1.AddItemRequest(id="slow", payload=v1.Payload(image=WHITE), models=["slow"])
        )
        stubs.v1.ListModels(v1.ListModelsRequest())  # on one connection: the server has both
        process.send(signal.SIGTERM)
        wait_for(lambda: is_unavailable(stubs), "UNAVAILABLE")
        assert not slow.done(), "too quick a call: it proves nothing"
        assert [written.model for written in slow.result(timeout=60).embeddings] == ["slow"]
    assert process.exit_code() == 0
    assert process.orphans() == []


def test_sigint_ends_an_idle_server_well(process):
    with Stubs(process.address()) as stubs:
        image = v1.Payload(image=encoded(noise(1)))
        stubs.v1.AddItem(v1.AddItemRequest(id="a", payload=image, models=["slow"]))
        process.send(signal.SIGINT)
        assert process.exit_code() == 0
    assert process.orphans() == []


def test_a_shutdown_call_ends_the_server_well(tmp_path):
    (tmp_path / "models").mkdir()
    arguments = ["--models", tmp_path / "models", "--data", tmp_path / "data"]
    with (
        ServerProcess(*arguments, "--address", "127.0.0.1:0", log=tmp_path / "log") as process,
        Stubs(process.address()) as stubs,
    ):
        assert stubs.legacy.Shutdown(legacy.ShutdownRequest(shutdown_type=0)).shutdown
        assert process.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_while_models_load_ends_the_server_at_once(process, number):
    wait_for(process.workers, "a worker")
    process.send(number)
    assert process.exit_code() == 0
    assert process.orphans() == []
