"""The server process and the signals that end it: what is under way is finished."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial

import grpc
import pytest
from PIL import Image

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs
from tests.support.images import encoded, noise
from tests.support.models import SlowOnWhite, save_model
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

BUSY = [sys.executable, "-c", "while True: pass"]
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


@pytest.mark.parametrize(
    ("times", "burners"), [(3, 1), pytest.param(200, os.cpu_count(), marks=pytest.mark.long)]
)
@pytest.mark.timeout(0)
def test_no_sigterm_is_lost_at_any_moment_on_a_busy_machine(tmp_path, times, burners):
    save_vector_space(tmp_path / "models", "v", feature_dim=2)
    chance = random.Random(times)
    arguments = ["--models", tmp_path / "models", "--data", tmp_path / "data"]
    ended: list[int] = []
    with ExitStack() as busy:
        for _ in range(burners):
            burner = busy.enter_context(subprocess.Popen(BUSY))
            busy.callback(burner.kill)
        for number in range(times):
            with ServerProcess(*arguments, "--address", "127.0.0.1:0", log=tmp_path / "log") as one:
                match number % 3:
                    case 0:  # before, while and after Python starts
                        time.sleep(chance.uniform(0, 0.3))
                    case 1:  # while the server starts
                        time.sleep(chance.uniform(0.3, 2))
                    case 2:  # as it begins to wait
                        one.address()
                one.send(signal.SIGTERM)
                ended.append(one.exit_code())
    # a process that has not come to its first line yet has the default action
    assert {*ended} <= {0, -signal.SIGTERM}
    assert {*ended[2::3]} == {0}
    assert "Traceback" not in (tmp_path / "log").read_text()


def save_conf(folder, models, log_file):
    """Write a configuration with a log file; returns it."""
    conf = folder / "euclidesdb.conf"
    conf.write_text(
        f"[server]\naddress = 127.0.0.1:0\nsearch_engine = exact\nlog_file_path = {log_file}\n"
        f"[models]\ndir_path = {models}\n[database]\ndb_path = {folder / 'data'}\n"
    )
    return conf


def test_sighup_opens_the_log_again_and_loads_what_is_new_or_has_changed(tmp_path):
    models, log_file = tmp_path / "models", tmp_path / "server.log"
    save_vector_space(models, "kept", feature_dim=2)
    save_vector_space(models, "changed", feature_dim=2)
    conf = save_conf(tmp_path, models, log_file)
    with (
        ServerProcess("-c", conf, log=tmp_path / "log") as process,
        euclidesdb.Client(process.address()) as client,
    ):
        client.add("a", vectors={"kept": [1, 2], "changed": [3, 4]})
        log_file.rename(tmp_path / "server.log.1")
        shutil.rmtree(models / "changed")
        save_vector_space(models, "changed", feature_dim=3)
        save_vector_space(models, "new", feature_dim=4)
        (models / "broken").mkdir()
        process.send(signal.SIGHUP)
        wait_for(partial(serves, client, "new"), "the new model")
        wait_for(lambda: changed_dim(client) == 3, "the changed model")
        client.add("b", vectors={"kept": [1, 2], "changed": [1, 2, 3], "new": [1, 2, 3, 4]})
        assert client.find_similar(id="b", model="kept")["kept"].ids == ("a",)
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    log = log_file.read_text()
    assert "model folder broken is not served" in log
    assert "'kept' is loaded" not in log, "it had not changed"


def changed_dim(client: euclidesdb.Client) -> int:
    return next(model.feature_dim for model in client.models() if model.name == "changed")


def test_sighup_during_the_start_does_not_end_it_and_sigint_ends_it_well_when_idle(process):
    wait_for(process.workers, "a worker")
    process.send(signal.SIGHUP)
    with Stubs(process.address()) as stubs:
        image = v1.Payload(image=encoded(noise(1)))
        stubs.v1.AddItem(v1.AddItemRequest(id="a", payload=image, models=["slow"]))
        process.send(signal.SIGINT)
        assert process.exit_code() == 0
    assert process.orphans() == []


def test_a_log_that_cannot_be_written_fails_no_call_and_no_reload(tmp_path):
    models, logs = tmp_path / "models", tmp_path / "logs"
    save_vector_space(models, "kept", feature_dim=2)
    conf = save_conf(tmp_path, models, logs / "log")
    with (
        ServerProcess("-c", conf, log=tmp_path / "log") as process,
        euclidesdb.Client(process.address()) as client,
    ):
        shutil.rmtree(logs)
        for name in ("first", "second"):
            save_vector_space(models, name, feature_dim=2)
            process.send(signal.SIGHUP)
            wait_for(partial(serves, client, name), f"the model {name}")
        logs.mkdir()
        (models / "broken").mkdir()
        process.send(signal.SIGHUP)
        wait_for((logs / "log").exists, "the log")


def serves(client: euclidesdb.Client, name: str) -> bool:
    return name in {model.name for model in client.models()}
