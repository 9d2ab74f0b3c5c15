"""ModelHealth: the state of a model, and when its queue refuses requests and accepts them again."""

from __future__ import annotations

import pytest

from euclidesdb_server.errors import ModelUnavailable, ShuttingDown
from euclidesdb_server.inference.model_health import ModelHealth
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.restarts import Pauses
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

ITEM = Payload("image", b"any")
READY = (ModelState.READY, "")
NEXT = "; the next attempt begins after a pause of 3 s"


@pytest.fixture
def queue():
    return RequestQueue("model 'm'", 10)


def two_seats(queue, max_wait=0.0):
    return ModelHealth("m", queue, workers=2, max_wait=max_wait)


@pytest.fixture
def health(queue):
    """Of a model with two workers, both ready; its requests do not wait once a start has failed."""
    health = two_seats(queue)
    health.worker_ready(0)
    health.worker_ready(1)
    return health


def refusal(queue):
    """Why the queue refuses a request; None: it accepts it."""
    try:
        queue.put(ITEM)
    except ModelUnavailable as error:
        return str(error)
    return None


def test_a_model_is_ready_while_one_of_its_workers_is(health, queue):
    health.worker_died(0, "first")
    health.start_failed(0, "no memory", 3)
    assert health.state == READY
    health.worker_died(1, "second")
    assert health.state == (ModelState.RESTARTING, "second")
    assert refusal(queue) is None, "no start has failed since"
    health.worker_ready(1)
    assert health.state == READY


def test_a_model_without_a_worker_says_why_and_when_it_is_tried_again(health, queue):
    waiting = queue.put(ITEM)
    health.worker_died(0, "first")
    health.worker_died(1, "second")
    health.start_failed(1, "no memory", 3)
    assert health.state == (ModelState.RESTARTING, f"no memory{NEXT}")
    assert refusal(queue) == f"model 'm' is restarting: no memory{NEXT}"
    assert str(waiting.exception(0)) == refusal(queue)
    health.worker_ready(0)
    assert refusal(queue) is None


def test_requests_wait_through_a_failure_that_is_short(queue):
    health = two_seats(queue, max_wait=60.0)
    health.worker_ready(0)
    health.worker_died(0, "it was killed")
    health.start_failed(0, "no memory", 3)
    assert health.state[0] is ModelState.RESTARTING
    assert refusal(queue) is None


def test_a_model_that_never_was_ready_is_loading_between_its_attempts(queue):
    health = two_seats(queue)
    health.start_failed(0, "no memory", 3)
    assert not health.tried.is_set()
    health.start_failed(1, "no memory", 3)
    assert health.tried.is_set()
    assert not health.started.is_set()
    assert health.state == (ModelState.LOADING, f"no memory{NEXT}")
    health.worker_ready(0)
    assert health.started.is_set()
    assert health.state == READY


def test_a_model_is_started_once_both_workers_were_tried(queue):
    health = two_seats(queue)
    health.worker_ready(0)
    assert not health.started.is_set()
    health.start_failed(1, "no memory", 3)
    assert health.started.is_set()


def test_a_seat_that_ends_leaves_the_other_serving(health, queue):
    health.worker_died(0, "first")
    health.seat_ended(0, "the files have changed")
    assert health.state == READY
    assert not health.stopped
    health.worker_died(1, "second")
    health.seat_ended(1, "the files have changed")
    assert health.state == (ModelState.QUARANTINED, "the files have changed")
    assert health.stopped
    assert refusal(queue) == "model 'm' is quarantined: the files have changed"


def test_a_model_is_rejected_only_if_none_of_its_workers_has_run_it(health, queue):
    assert not health.reject("it died while loading")
    assert health.state == READY
    never_ready = two_seats(queue)
    assert never_ready.reject("it died while loading")
    assert never_ready.state == (ModelState.QUARANTINED, "it died while loading")


def test_a_model_that_is_given_up_stays_quarantined(health, queue):
    health.give_up("feature_dim is wrong")
    health.worker_ready(0)
    health.start_failed(0, "no memory", 3)
    health.worker_died(0, "afterwards")
    assert health.state == (ModelState.QUARANTINED, "feature_dim is wrong")
    assert refusal(queue) == "model 'm' is quarantined: feature_dim is wrong"


def test_a_worker_that_is_ready_as_the_model_stops_does_not_open_the_queue(health, queue):
    health.stop()
    queue.refuse(ShuttingDown("the server is stopping"))
    health.worker_ready(0)
    health.start_failed(0, "no memory", 3)
    with pytest.raises(ShuttingDown):
        queue.put(ITEM)


def test_pauses_double_up_to_their_limit():
    pauses = Pauses(first=0.1, limit=1.0)
    assert [pauses.after(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [
        pytest.approx(pause) for pause in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)
    ]
