"""Whatever a model does in its process, the request that it did it on fails, and nothing else.

Signals from outside are in test_served_workers.py.
"""

import os
import re
import signal
import struct
import threading
import zlib

import psutil
import pytest
import torch

from euclidesdb_server.errors import ModelFailed, ModelUnavailable, UndecodableInput
from euclidesdb_server.values.status import ModelState
from tests.inference.running_models import SOON, Running, value
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.programs import MOODY_DIMS, Moody, gray
from tests.support.waiting import wait_for

READY = (ModelState.READY, "")
NATIVE_CODE = """
import os
import torch
library = torch.library.Library("isolation", "DEF")
library.define("leave(Tensor values) -> Tensor")
library.impl("leave", lambda values: os._exit(3), "CPU")
"""
"""An operator of a model's own, as an extension has them; no other operator ends a process."""
exec(NATIVE_CODE)

SEGFAULT, LEAVE, ENDLESS, GREEDY, NOT_A_NUMBER, RAISE, TOO_FEW = range(250, 243, -1)
"""Images of these grays have a Temperamental do it."""


class Temperamental(torch.nn.Module):
    """The mean of each channel; but a batch with one of the images above does as they say."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean(dim=[2, 3])
        grays = torch.round(means[:, 0] * 255)
        rounds = 0
        while bool((grays == 248).any()):
            rounds += 1
        if bool((grays == 250).any()):
            # an unchecked index: a write far outside of the tensor
            far = torch.full([1, 1], 1 << 60, dtype=torch.long)
            wild = torch.ops.aten._sparse_coo_tensor_unsafe(far, torch.ones([1]), [4])
            means = means + wild.to_dense().sum()
        if bool((grays == 249).any()):
            means = torch.ops.isolation.leave(means)
        if bool((grays == 247).any()):
            held = [means[0]]
            while len(held) <= 64:
                held.append(means.new_empty([1 << 24]))
            means = means + held[-1][0]  # or TorchScript would leave the loop out
        if bool((grays == 245).any()):
            raise ValueError("no such color")
        if bool((grays == 244).any()):
            return means[:, :2]
        means = torch.where((grays == 246).unsqueeze(1), means / 0.0 - means / 0.0, means)
        return means + float(rounds)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A Temperamental, and a healthy neighbor."""
    folder = tmp_path_factory.mktemp("models")
    native = folder / "native"
    native.mkdir()
    (native / "sitecustomize.py").write_text(NATIVE_CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(native), prepend=os.pathsep)
        conf = {"prediction_dim": 0, "max_wait_ms": 0}
        temperamental = Running(
            save_model(
                folder, "temperamental", module=Temperamental(), feature_dim=3,
                inference_timeout=1, memory_limit_mib=2048, **conf,
            )
        )  # fmt: skip
        neighbor = Running(save_model(folder, "neighbor", module=Moody(), **MOODY_DIMS | conf))
        for running in (temperamental, neighbor):
            assert running.model.wait_until_started(SOON)
            assert running.model.state == READY
        yield temperamental, neighbor
        for running in (temperamental, neighbor):
            running.model.close()


@pytest.fixture
def running(models):
    return models[0]


@pytest.fixture(autouse=True)
def neighbor_is_well(request):
    """The neighbor answers every request throughout the test."""
    if "models" not in request.fixturenames:
        yield
        return
    neighbor = request.getfixturevalue("models")[1]
    stop, answered = threading.Event(), []

    def call():
        while True:
            answered.append(neighbor.embed(gray(7)).exception(SOON))
            if stop.wait(0.05):
                return

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield
    finally:
        stop.set()
        calling.join()
    assert answered
    assert not any(answered)
    assert len(neighbor.pids) == 1


def failure(running, poison):
    """What `poison` is answered with, in a batch with others, which are answered."""
    futures = running.queue_up(gray(3), poison, gray(5))
    running.go_on()
    error = futures.pop(3).exception(SOON)
    assert [value(future) for future in futures] == [1, 2, 3, 5]
    wait_for(lambda: running.model.state == READY, "the worker is back")
    assert value(running.embed(gray(9))) == 9
    return error


@pytest.mark.parametrize(
    ("poison", "how"),
    [
        pytest.param(SEGFAULT, "it was killed by signal 11 (SIGSEGV)", id="segfaults"),
        pytest.param(LEAVE, "it exited with code 3", id="leaves", marks=pytest.mark.long),
        pytest.param(
            ENDLESS,
            "it did not respond within inference_timeout = 1 s",
            id="never ends",
            marks=pytest.mark.long,  # as for one of two workers, below
        ),
    ],
)
def test_an_item_that_ends_the_process_fails_alone(running, poison, how):
    before = len(running.pids)
    error = failure(running, gray(poison))
    assert isinstance(error, ModelFailed)
    assert str(error) == f"the worker of model 'temperamental' died on this item: {how}"
    assert len(running.pids) == before + 2


@pytest.mark.parametrize(
    ("poison", "how"),
    [
        (GREEDY, "you tried to allocate 67108864 bytes"),
        (NOT_A_NUMBER, "it returned NaN or infinity"),
        (RAISE, "no such color"),
        (TOO_FEW, "feature_dim = 3 in model.conf, but it returned shape (1, 2) for 1 item"),
    ],
    ids=["allocates 4 GiB", "returns NaN", "raises", "has a wrong shape"],
)
def test_an_item_that_spares_the_process_fails_alone(running, poison, how):
    before = len(running.pids)
    error = failure(running, gray(poison))
    assert isinstance(error, ModelFailed)
    assert str(error).startswith("model 'temperamental' failed on this item: ")
    assert how in str(error)
    assert len(running.pids) == before


def bomb():
    """A PNG of some bytes that claims 60,000 x 60,000 pixels."""
    data = encoded(noise(1))
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    ("image", "how"),
    [
        (bomb(), "the image has 60000 x 60000 pixels; at most 10000 are decoded"),
        (
            encoded(noise(1, size=64), "JPEG")[:-999],
            "the JPEG image cannot be decoded: .*truncated",
        ),
    ],
    ids=["bomb", "truncated"],
)
def test_a_hostile_image_fails_alone(running, image, how):
    before = len(running.pids)
    error = failure(running, image)
    assert isinstance(error, UndecodableInput)
    assert re.search(how, str(error))
    assert len(running.pids) == before


@pytest.mark.usefixtures("models")
def test_a_program_that_is_garbage_is_quarantined_with_its_reason(tmp_path):
    folder = save_model(tmp_path, "garbage")
    (folder / "program.pt").write_bytes(b"garbage" * 999)
    running = Running(folder)
    assert running.model.wait_until_started(SOON)
    state, reason = running.model.state
    with pytest.raises(ModelUnavailable, match="is not a TorchScript program"):
        running.embed(gray(1))
    running.model.close()
    assert state is ModelState.QUARANTINED
    assert reason.startswith(f"{folder / 'program.pt'} is not a TorchScript program: ")
    assert running.pids == []


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model with two workers."""
    folder = save_model(
        tmp_path_factory.mktemp("pair"), "pair", module=Moody(), **MOODY_DIMS,
        workers=2, max_wait_ms=0, inference_timeout=1,
    )  # fmt: skip
    pair = Running(folder)
    assert pair.model.wait_until_started(SOON)
    yield pair
    pair.model.close()


def test_a_model_with_two_workers_is_started_once_both_are_up(pair):
    assert len(pair.pids) == 2
    assert pair.model.state == READY


def test_while_one_worker_is_replaced_the_other_answers(pair):
    first, before = pair.pids[-1], len(pair.pids)
    pair.may_start.clear()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(first), "the death is noticed")
    states = []
    for number in range(1, 21):
        assert value(pair.embed(gray(number))) == number
        states.append(pair.model.state)
    assert len(pair.pids) == before
    assert states == [READY] * 20
    pair.may_start.set()
    wait_for(lambda: len(pair.pids) == before + 1, "another worker is there")
    assert pair.model.state == READY


@pytest.mark.long  # with one worker it is in test_model_outages.py
def test_a_model_whose_workers_all_died_is_restarting_then_ready(pair):
    for pid in filter(psutil.pid_exists, pair.pids):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pair.model.state[0] is ModelState.RESTARTING, "the deaths are noticed")
    assert value(pair.embed(gray(6))) == 6
    assert pair.model.state == READY


def test_while_one_worker_hangs_every_other_item_is_answered(pair):
    hanging = pair.embed(gray(0))
    futures = [pair.embed(gray(number)) for number in range(1, 31)]
    assert [value(future) for future in futures] == [*range(1, 31)]
    assert "not respond within inference_timeout = 1 s" in str(hanging.exception(SOON))
