"""ModelHealth: when a model is quarantined, and when its queue accepts requests again."""

from __future__ import annotations

import pytest

from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.inference.model_health import CRASHES_TO_QUARANTINE, ModelHealth
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

ITEM = Payload("image", b"any")


@pytest.fixture
def queue():
    return RequestQueue("model 'm'", 10)


@pytest.fixture
def health(queue):
    """Of a model with two workers, both ready."""
    health = ModelHealth("m", queue, workers=2, quarantine_seconds=0.0)
    health.worker_ready()
    health.worker_ready()
    return health


def crash(health, times=CRASHES_TO_QUARANTINE):
    for _ in range(times):
        health.worker_crashed("by a test")


def accepts(queue):
    try:
        queue.put(ITEM)
    except ModelUnavailable:
        return False
    return True


def test_a_model_is_ready_while_one_of_its_workers_is(health):
    health.worker_crashed("first")
    assert health.state == (ModelState.READY, "")
    health.worker_crashed("second")
    assert health.state == (ModelState.RESTARTING, "second")
    health.worker_ready()
    assert health.state == (ModelState.READY, "")


def test_a_quarantine_closes_the_queue_until_it_is_over(health, queue):
    crash(health)
    assert health.state[0] is ModelState.QUARANTINED
    assert not accepts(queue)
    assert health.wait_out_quarantine()
    assert accepts(queue)
    crash(health, CRASHES_TO_QUARANTINE - 1)
    assert accepts(queue), "crashes are counted from 0 again"


def test_a_crash_as_a_quarantine_ends_does_not_leave_the_queue_closed(health, queue):
    class Waits:
        """The event that a quarantine waits for; the other worker crashes during the first."""

        count = 0

        def wait(self, _seconds):
            self.count += 1
            if self.count == 1:
                health.worker_crashed("meanwhile")
            return False

        def is_set(self):
            return False

    crash(health)
    waits = health._stopping = Waits()
    assert health.wait_out_quarantine()
    assert waits.count == 2, "it waited for the end of the second quarantine, too"
    assert accepts(queue)


def test_a_model_that_is_given_up_stays_quarantined(health, queue):
    crash(health)
    health.give_up("no memory")
    assert not health.wait_out_quarantine()
    assert not accepts(queue)
    health.worker_ready()
    health.worker_crashed("afterwards")
    assert health.state == (ModelState.QUARANTINED, "no memory")


def test_a_quarantine_is_not_waited_out_once_the_model_stops(health):
    crash(health)
    health.stop()
    assert not health.wait_out_quarantine()
