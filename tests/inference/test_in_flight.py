"""InFlight: when a worker should be given the next batch."""

from __future__ import annotations

import math

import pytest

from euclidesdb_server.inference import in_flight as module
from euclidesdb_server.inference.in_flight import GATHERING, HEAD_START, MIN_HEAD_START, InFlight
from euclidesdb_server.inference.taker import Request


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


def flown(clock, *, decodes_in_parallel=False):
    """A in_flight of batches of four, of at most eight, that took two seconds each."""
    in_flight = InFlight(8, decodes_in_parallel=decodes_in_parallel)
    for _ in range(20):
        number = in_flight.add(requests(4))
        clock.now += 2
        assert number is not None
        in_flight.complete(number)
    return in_flight


@pytest.mark.parametrize("decodes_in_parallel", [True, False])
def test_a_batch_is_handed_over_shortly_before_the_one_in_flight_ends(clock, decodes_in_parallel):
    in_flight = flown(clock, decodes_in_parallel=decodes_in_parallel)
    in_flight.add(requests(8))
    wanted = 4 * (1 - HEAD_START)
    assert in_flight.busy_for(4) == pytest.approx(wanted, rel=0.02)
    clock.now += wanted + 0.1
    assert in_flight.busy_for(4) < 0


def test_a_batch_not_half_full_waits_for_the_one_in_flight_and_a_moment(clock):
    in_flight = flown(clock)
    number = in_flight.add(requests(4))
    assert in_flight.busy_for(3) == math.inf
    clock.now += 2
    in_flight.complete(number)
    assert in_flight.busy_for(3) == pytest.approx(2 * GATHERING)
    assert in_flight.busy_for(4) <= 0
    clock.now += 2.1 * GATHERING
    assert in_flight.busy_for(3) < 0


def test_a_small_batch_goes_early_if_the_worker_decodes_during_a_forward_pass(clock):
    in_flight = flown(clock, decodes_in_parallel=True)
    assert in_flight.busy_for(3) <= 0
    in_flight.add(requests(4))
    assert in_flight.busy_for(3) == in_flight.busy_for(4) < math.inf


@pytest.mark.parametrize("waiting", [1, 8])
def test_a_worker_that_is_gone_is_not_waited_for(clock, waiting):
    in_flight = flown(clock)
    in_flight.add(requests(7))
    in_flight.fail_all()
    assert in_flight.busy_for(waiting) == 0


def test_a_worker_has_room_for_two_batches_or_for_one_request_alone():
    in_flight = InFlight(8, decodes_in_parallel=False)
    assert in_flight.is_idle
    first = in_flight.add(requests(1))
    assert not in_flight.is_idle
    assert in_flight.has_room(alone=False)
    assert not in_flight.has_room(alone=True)
    second = in_flight.add(requests(1))
    assert not in_flight.has_room(alone=False)
    in_flight.complete(first)
    in_flight.complete(second)
    assert in_flight.has_room(alone=True)
    (retried,) = requests(1)
    retried.alone = True
    number = in_flight.add([retried])
    assert not in_flight.has_room(alone=False)
    in_flight.complete(number)
    assert in_flight.has_room(alone=False)
    in_flight.fail_all()
    assert not in_flight.is_idle
    assert not in_flight.has_room(alone=False)


def test_a_batch_expected_to_be_short_is_followed_by_another_only_if_it_is_not(clock):
    in_flight = InFlight(8, decodes_in_parallel=False)
    for _ in range(20):
        number = in_flight.add(requests(1))
        clock.now += 1e-4
        assert number is not None
        in_flight.complete(number)
    assert in_flight.busy_for(1) == 0, "to gather more is not worth a change of threads"
    in_flight.add(requests(1))
    assert in_flight.busy_for(8) == pytest.approx(MIN_HEAD_START)
    clock.now += MIN_HEAD_START * 1.01
    assert in_flight.busy_for(8) < 0
