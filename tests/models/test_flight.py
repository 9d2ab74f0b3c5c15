"""Flight: when a worker should be given the next batch."""

from __future__ import annotations

import threading

import pytest

from euclidesdb_server.models import flight as module
from euclidesdb_server.models.batching import Request
from euclidesdb_server.models.flight import GATHERING, HEAD_START, Flight


class Clock:
    """Stands in for `time`."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def requests(count):
    return [Request(None) for _ in range(count)]


def flown(clock, *, decodes_beside=False):
    """A flight of batches of four, of at most eight, that took two seconds each."""
    flight = Flight(8, decodes_beside=decodes_beside)
    for _ in range(20):
        number = flight.launch(requests(4))
        clock.now += 2
        flight.land(number)
    return flight


@pytest.mark.parametrize("decodes_beside", [True, False])
def test_a_batch_is_handed_over_shortly_before_the_one_in_flight_ends(clock, decodes_beside):
    flight = flown(clock, decodes_beside=decodes_beside)
    flight.launch(requests(8))
    wanted = 4 * (1 - HEAD_START)
    assert flight.busy_for(4) == pytest.approx(wanted, rel=0.02)
    clock.now += wanted + 0.1
    assert flight.busy_for(4) < 0


def test_a_batch_not_half_full_waits_for_the_one_in_flight_and_a_moment(clock):
    flight = flown(clock)
    number = flight.launch(requests(4))
    assert flight.busy_for(3) == threading.TIMEOUT_MAX
    clock.now += 2
    flight.land(number)
    assert flight.busy_for(3) == pytest.approx(2 * GATHERING)
    assert flight.busy_for(4) <= 0
    clock.now += 2.1 * GATHERING
    assert flight.busy_for(3) < 0


def test_a_small_batch_goes_early_where_the_worker_decodes_beside_its_device(clock):
    flight = flown(clock, decodes_beside=True)
    assert flight.busy_for(3) <= 0
    flight.launch(requests(4))
    assert flight.busy_for(3) == flight.busy_for(4) < threading.TIMEOUT_MAX


@pytest.mark.parametrize("waiting", [1, 8])
def test_a_worker_that_is_gone_is_not_waited_for(clock, waiting):
    flight = flown(clock)
    flight.launch(requests(7))
    flight.crash()
    assert flight.busy_for(waiting) == 0
