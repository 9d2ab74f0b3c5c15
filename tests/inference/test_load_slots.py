"""Workers load their models a few at a time; one that hangs delays no other twice."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.inference.load_errors import LoadInterrupted
from euclidesdb_server.inference.load_slots import LoadSlots
from tests.support.models import save_model

SOON = 30.0


def never():
    return False


def test_as_many_loads_as_there_are_slots_run_at_the_same_time():
    slots = LoadSlots(2)
    both, loading, most = threading.Barrier(2), [], []

    def load(number):
        with slots.taken(never, timed_out=False):
            loading.append(number)
            most.append(len(loading))
            both.wait(SOON)
            loading.remove(number)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(load, range(6)))
    assert max(most) == 2


def test_a_load_that_timed_out_before_leaves_the_slots_to_others():
    slots = LoadSlots(1)
    with (
        slots.taken(never, timed_out=True),
        slots.taken(never, timed_out=False),
        pytest.raises(LoadInterrupted),
        slots.taken(lambda: True, timed_out=True),
    ):
        pass


def test_a_load_that_is_not_wanted_any_more_does_not_wait_for_its_turn():
    slots = LoadSlots(1)
    with slots.taken(never, timed_out=False):
        for _ in range(2):
            with (
                pytest.raises(LoadInterrupted, match="no longer needed"),
                slots.taken(lambda: True, timed_out=False),
            ):
                pass
    with slots.taken(lambda: True, timed_out=False):
        pass


@pytest.fixture
def one_core():
    """This thread, and what it starts, may use one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


WORKER = """#!/bin/sh
echo begins >> {log}
sleep 0.1
echo ends >> {log}
"""
"""It takes the place of the interpreter, and so of every worker; none gets ready."""


@pytest.mark.usefixtures("one_core")
def test_the_models_of_a_server_load_one_per_core(tmp_path, monkeypatch):
    log, worker, models = tmp_path / "log", tmp_path / "worker", tmp_path / "models"
    worker.write_text(WORKER.format(log=log))
    worker.chmod(0o755)
    for name in ("first", "second", "third", "fourth"):
        save_model(models, name)
    monkeypatch.setattr(sys, "executable", str(worker))
    registry = ModelRegistry(ModelsConfig(dir_path=models))
    try:
        registry.wait_until_tried(threading.Event())
        reasons = {model.state[1] for model in registry.models.values()}
    finally:
        registry.close()
    assert reasons == {"its worker died while loading: it exited with code 0"}
    assert log.read_text().split() == ["begins", "ends"] * 4
