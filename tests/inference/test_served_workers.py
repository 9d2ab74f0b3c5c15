"""Models in their own processes: they are killed and closed, and every item is answered.

Items that crash or hang a worker are in test_isolation.py, the faults that need no real process
in test_served_model.py.
"""

import signal
import subprocess
import sys
import threading

import psutil
import pytest
from PIL import Image

from euclidesdb_server.errors import ShuttingDown, UndecodableInput
from euclidesdb_server.values.status import ModelState
from tests.inference.running_models import SOON, Running, value
from tests.support.images import encoded
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Lethal, Moody, gray
from tests.support.waiting import wait_for

ENDLESS = gray(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(
        tmp_path_factory.mktemp("moody"),
        "moody",
        module=Moody(),
        **MOODY_DIMS,
        max_wait_ms=0,
        inference_timeout=2,
    )


@pytest.fixture(scope="module")
def running(folder):
    running = Running(folder)
    yield running
    running.model.close()


@pytest.fixture(autouse=True)
def ready(request):
    """The worker is ready and its queue empty before and after each test that shares it."""
    if "running" not in request.fixturenames:
        yield
        return
    model = request.getfixturevalue("running").model
    assert model.wait_until_started(SOON)
    yield
    wait_for(lambda: model.state == (ModelState.READY, ""), "the worker is back")
    assert len(model._queue) == 0


def shared_with(future):
    return int(future.result(SOON).vector[3])


def test_items_that_come_together_share_a_forward_pass(running):
    futures = running.queue_up(*(gray(number) for number in range(3, 13)))
    running.go_on()
    assert [value(future) for future in futures] == list(range(1, 13))
    assert [shared_with(future) for future in futures[2:]] == [10] * 10


def test_an_item_that_is_not_an_image_fails_alone(running):
    futures = running.queue_up(gray(3), b"junk", gray(5), gray(6))
    running.go_on()
    with pytest.raises(UndecodableInput, match="not a JPEG"):
        futures[3].result(SOON)
    assert [value(futures[index]) for index in (2, 4, 5)] == [3, 5, 6]
    assert shared_with(futures[2]) == 3


def test_an_image_over_the_servers_limit_is_refused(running):
    with pytest.raises(UndecodableInput, match="101 x 100 pixels; at most 10000"):
        running.embed(encoded(Image.new("L", (101, 100)))).result(SOON)


def test_requests_of_a_killed_process_are_answered_by_the_next(running):
    futures = running.queue_up(gray(3), gray(4))
    running.signal(signal.SIGKILL)
    assert [value(future) for future in futures] == [1, 2, 3, 4]


def test_an_interrupt_that_reaches_the_whole_group_does_not_end_a_worker(running):
    before = len(running.pids)
    running.signal(signal.SIGINT)
    running.signal(signal.SIGTERM)
    assert value(running.embed(gray(9))) == 9
    assert len(running.pids) == before


def test_close_answers_every_request_and_leaves_nothing_behind(folder):
    threads = set(threading.enumerate())
    running = Running(folder)
    assert running.model.wait_until_started(SOON)
    futures = running.queue_up(gray(3), gray(4))
    closing = threading.Thread(target=running.model.close)
    closing.start()
    for future in futures[2:]:
        assert isinstance(future.exception(SOON), ShuttingDown)
    running.go_on()
    assert [value(future) for future in futures[:2]] == [1, 2]
    closing.join(SOON)
    assert not psutil.pid_exists(running.pids[0])
    assert set(threading.enumerate()) == threads
    with pytest.raises(ShuttingDown):
        running.embed(gray(1))


def test_a_worker_that_does_not_load_in_time_is_started_again(folder):
    running = Running(folder, start_timeout=0.01)
    assert running.model.wait_until_tried(SOON)
    state, reason = running.model.state
    assert not running.model.wait_until_started(0.2)
    running.model.close()
    assert state is ModelState.LOADING
    assert reason.startswith("it did not load in start_timeout = 0.01 s; the next attempt begins ")


def test_close_does_not_wait_for_a_model_to_load(folder):
    running = Running(folder)
    future = running.embed(gray(1))
    running.model.close()
    assert isinstance(future.exception(0), ShuttingDown)
    assert running.pids == []


def test_a_program_that_kills_its_process_while_loading_is_reported(tmp_path):
    running = Running(save_model(tmp_path, "lethal", module=Lethal()))
    assert running.model.wait_until_started(SOON)
    state, reason = running.model.state
    running.model.close()
    assert state is ModelState.QUARANTINED
    assert reason.startswith("its worker died while loading: ")
    assert "SIGSEGV" in reason


PARENT = """
import functools, pathlib, sys
from euclidesdb_server.inference.model_folder import read_model_folder
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.values.payload import Payload
folder = read_model_folder(pathlib.Path(sys.argv[1]))
start = functools.partial(
    WorkerProcess, folder, threads=1, max_image_pixels=10_000, start_timeout=60.0
)
model = ServedModel(folder, start)
model.wait_until_started()
model.embed(Payload("image", bytes.fromhex(sys.argv[2])))
print("embedding", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker looks only between batches")
def test_a_killed_server_takes_its_workers_along_even_amid_a_batch(tmp_path):
    folder = save_model(
        tmp_path, "endless", module=Moody(), **MOODY_DIMS, max_wait_ms=0, inference_timeout=600
    )
    command = [sys.executable, "-c", PARENT, str(folder), ENDLESS.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"embedding\n"
        (worker,) = psutil.Process(parent.pid).children()
        assert "euclidesdb_server.worker" in worker.cmdline()
        parent.kill()
    try:
        wait_for(lambda: has_ended(worker), "the worker ends, too")
    finally:
        if not has_ended(worker):
            worker.kill()


def has_ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # an orphan may stay unreaped
    except psutil.NoSuchProcess:
        return True
