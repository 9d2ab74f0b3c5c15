"""A moment without memory takes no model away: through the real API, with real worker processes.

While the file `NO_MEMORY` exists, each worker that starts is killed, as the kernel does it if there
is no memory left.
"""

from __future__ import annotations

import os
from functools import partial

import psutil
import pytest
from PIL import Image

import euclidesdb
from euclidesdb_server.inference.restarts import PAUSES
from tests.support.images import encoded
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, gray
from tests.support.servers import start_server
from tests.support.waiting import wait_for

STARTUP = """
import os, signal, sys
if "euclidesdb_server.worker" in sys.orig_argv and os.path.exists({file!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""What Python runs at the start of each process."""


@pytest.fixture(scope="module")
def no_memory(tmp_path_factory):
    """A file: as long as it exists, no worker can be started."""
    folder = tmp_path_factory.mktemp("startup")
    file = folder / "NO_MEMORY"
    (folder / "sitecustomize.py").write_text(STARTUP.format(file=str(file)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield file


@pytest.fixture(scope="module")
def client(no_memory, tmp_path_factory):
    """Of a server that is started while there is no memory."""
    no_memory.touch()
    models = tmp_path_factory.mktemp("models")
    save_model(models, "moody", module=Moody(), **MOODY_DIMS, max_wait_ms=0)
    with (
        start_server(tmp_path_factory.mktemp("data"), models) as server,
        euclidesdb.Client(server.address) as client,
    ):
        yield client


def state(client):
    (model,) = client.models()
    return model.state, model.reason


def is_in(client, wanted):
    return state(client)[0] == wanted


def end_workers():
    for child in psutil.Process().children():
        if "euclidesdb_server.worker" in child.cmdline():
            child.kill()


def test_a_model_is_served_again_whenever_there_is_memory(client, no_memory):
    died = "its worker died while loading: it was killed by signal 9 (SIGKILL); the next attempt "
    found, reason = state(client)
    assert found == "loading", "the server is up without the model"
    assert reason.startswith(died)
    with pytest.raises(euclidesdb.ModelUnavailable, match="model 'moody' is loading: its worker"):
        client.add("a", image=gray(3), models=["moody"])

    no_memory.unlink()
    wait_for(partial(is_in, client, "ready"), "its first start")
    client.add("a", image=gray(3), models=["moody"])

    no_memory.touch()
    end_workers()
    wait_for(lambda: state(client)[1].startswith(died), "an attempt to restart it")
    assert is_in(client, "restarting")
    no_memory.unlink()
    wait_for(partial(is_in, client, "ready"), "its restart", timeout=2 * PAUSES.limit)
    neighbors = client.find_similar(image=gray(3), models=["moody"], top_k=1)["moody"]
    assert [*neighbors.ids] == ["a"]


def test_an_item_that_killed_workers_kills_no_more_until_its_model_is_loaded_again(
    client, no_memory, caplog
):
    no_memory.unlink(missing_ok=True)

    def deaths():
        return len([record for record in caplog.records if "' died with " in record.message])

    def add_poison():
        with pytest.raises(euclidesdb.EmbeddingFailed, match="SIGSEGV") as raised:
            client.add("poison", image=gray(255), models=["moody"])
        assert [each.reason for each in raised.value.failures] == ["crashed"]
        return str(raised.value)

    first = add_poison()
    wait_for(lambda: deaths() == 2, "two deaths in the log")
    assert [add_poison() for _ in range(3)] == [first] * 3
    (failed,) = client.add_many(
        [
            euclidesdb.NewItem(item_id, image=image, models=["moody"])
            for item_id, image in (("c", gray(5)), ("poison", gray(255)))
        ]
    )
    assert isinstance(failed, euclidesdb.Failed)
    assert (failed.id, failed.reason) == ("poison", "model_failed")
    assert [item.id for item in client.items(state="failed")] == ["poison"]
    assert deaths() == 2
    client.reload_model("moody")
    add_poison()
    wait_for(lambda: deaths() == 4, "two more deaths in the log")


@pytest.mark.long  # twelve starts; with scripted workers it is in test_served_model.py
def test_items_that_kill_workers_fail_alone_however_many(client, no_memory):
    no_memory.unlink(missing_ok=True)
    for width in range(1, 7):  # each kills two workers
        poison = encoded(Image.new("RGB", (width, 1), "white"))
        with pytest.raises(euclidesdb.ModelFailed, match="SIGSEGV"):
            client.add("poison", image=poison, models=["moody"])
    client.add("b", image=gray(4), models=["moody"])
    assert is_in(client, "ready")
