"""The queue in front of a model: how requests become batches, and that each is answered."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from euclidesdb_server.errors import ModelUnavailable, Overloaded, ShuttingDown
from euclidesdb_server.inference.request_queue import RequestQueue

HOUR = 3600.0
SOON = 30.0


def never():
    return False


def queue_of(*works, limit=100):
    queue = RequestQueue("model 'm'", limit)
    return queue, [queue.put(work) for work in works]


def works(batch):
    return [request.work for request in batch]


@pytest.fixture
def taker():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_without_a_wait_a_batch_is_all_that_queued_up():
    queue, _ = queue_of(1, 2, 3)
    assert works(queue.take(10, 0, never)) == [1, 2, 3]
    assert len(queue) == 0


def test_a_batch_has_at_most_so_many_and_the_rest_keeps_its_order():
    queue, _ = queue_of(1, 2, 3, 4, 5)
    assert works(queue.take(2, HOUR, never)) == [1, 2]
    assert works(queue.take(2, HOUR, never)) == [3, 4]
    assert works(queue.take(2, 0, never)) == [5]


def test_a_full_batch_does_not_wait(taker):
    queue, _ = queue_of(1)
    taken = taker.submit(queue.take, 2, HOUR, never)
    queue.put(2)
    assert works(taken.result(SOON)) == [1, 2]


def test_the_wait_is_counted_from_the_arrival_of_the_first(taker):
    queue, _ = queue_of(1, 2)
    queue._waiting[0].arrived = time.monotonic() - HOUR
    assert works(taker.submit(queue.take, 10, HOUR, never).result(SOON)) == [1, 2]


def test_a_take_waits_for_the_first_request(taker):
    queue, _ = queue_of()
    taken = taker.submit(queue.take, 10, 0, never)
    queue.put(1)
    assert works(taken.result(SOON)) == [1]


def test_a_full_queue_refuses_at_once():
    queue, _ = queue_of(1, 2, limit=2)
    with pytest.raises(Overloaded, match="model 'm' has 2 items waiting"):
        queue.put(3)
    queue.take(1, 0, never)
    queue.put(3)
    assert works(queue.take(5, 0, never)) == [2, 3]


def test_requests_that_were_cancelled_leave_room_for_others():
    queue, futures = queue_of(1, 2, limit=2)
    assert futures[0].cancel()
    queue.put(3)
    with pytest.raises(Overloaded):
        queue.put(4)
    assert works(queue.take(10, 0, never)) == [2, 3]


def test_a_cancelled_request_is_never_handed_out():
    queue, futures = queue_of(1, 2, 3)
    assert futures[1].cancel()
    assert works(queue.take(10, 0, never)) == [1, 3]


def test_a_batch_of_cancelled_requests_is_not_run(taker):
    queue, futures = queue_of(1, 2)
    for future in futures:
        assert future.cancel()
    taken = taker.submit(queue.take, 10, 0, never)
    queue.put(3)
    assert works(taken.result(SOON)) == [3]


def test_a_request_that_was_handed_out_cannot_be_cancelled():
    queue, (future,) = queue_of(1)
    queue.take(1, 0, never)
    assert not future.cancel()


def test_what_is_put_back_comes_first_and_alone():
    queue, _ = queue_of(1, 2, 3)
    batch = queue.take(2, 0, never)
    queue.put(4)
    queue.put_back(batch)
    assert [works(queue.take(10, HOUR, never)) for _ in range(2)] == [[1], [2]]
    assert works(queue.take(10, 0, never)) == [3, 4]


def test_what_is_put_back_into_a_closed_queue_is_answered():
    queue, futures = queue_of(1, 2)
    batch = queue.take(2, 0, never)
    queue.refuse(ShuttingDown("stopping"))
    queue.put_back(batch)
    assert [str(future.exception(0)) for future in futures] == ["stopping"] * 2


def test_refuse_answers_all_who_wait_and_all_who_come():
    queue, futures = queue_of(1, 2, 3)
    futures[1].cancel()
    queue.put_back(queue.take(1, 0, never))
    queue.refuse(ModelUnavailable("broken"))
    assert isinstance(futures[0].exception(0), ModelUnavailable)
    assert futures[1].cancelled()
    assert isinstance(futures[2].exception(0), ModelUnavailable)
    with pytest.raises(ModelUnavailable, match="broken"):
        queue.put(4)
    assert len(queue) == 0


def test_each_refused_request_has_its_own_error():
    """One error raised again and again would keep every caller's frames, payloads included."""
    queue, futures = queue_of(1, 2)
    queue.refuse(ShuttingDown("stopping"))
    errors = [future.exception(0) for future in futures]
    for _ in range(2):
        with pytest.raises(ShuttingDown) as caught:
            queue.put(3)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 4


def test_a_queue_that_accepts_again_takes_requests():
    queue, _ = queue_of()
    queue.refuse(ModelUnavailable("for now"))
    queue.accept()
    queue.put(1)
    assert works(queue.take(1, 0, never)) == [1]


def test_a_take_that_is_not_wanted_any_more_returns_nothing(taker):
    queue, _ = queue_of()
    gone = threading.Event()
    taken = taker.submit(queue.take, 10, 0, gone.is_set)
    gone.set()
    queue.wake()
    assert taken.result(SOON) == []


def test_a_take_that_gives_up_while_waiting_for_more_leaves_the_requests_queued():
    queue, _ = queue_of(1)
    looks = iter([False, True, True])  # not at first; then, while waiting for more
    assert queue.take(2, HOUR, lambda: next(looks)) == []
    assert works(queue.take(2, 0, never)) == [1]


def test_every_request_of_many_threads_is_handed_out_once():
    queue, _ = queue_of(limit=10_000)
    taken = []
    done = threading.Event()

    def take_all():
        while batch := queue.take(7, 0, done.is_set):
            taken.extend(works(batch))

    def put(first):
        for work in range(first, first + 250):
            queue.put(work)

    with ThreadPoolExecutor(5) as pool:
        taking = pool.submit(take_all)
        for putting in [pool.submit(put, first) for first in range(0, 1000, 250)]:
            putting.result(SOON)
        done.set()
        queue.wake()
        taking.result(SOON)
    taken.extend(works(queue.take(10_000, 0, never)) if len(queue) else [])
    assert sorted(taken) == list(range(1000))


def test_a_batch_grows_while_the_worker_is_busy(taker):
    queue, _ = queue_of(1)
    free = threading.Event()
    taken = taker.submit(queue.take, 10, 0, never, lambda _waiting: 0.0 if free.is_set() else HOUR)
    queue.put(2)
    assert not taken.done()
    free.set()
    queue.wake()
    assert works(taken.result(SOON)) == [1, 2]


def test_a_full_batch_does_not_wait_for_a_busy_worker():
    queue, _ = queue_of(1, 2)
    assert works(queue.take(2, 0, never, lambda _waiting: HOUR)) == [1, 2]


def test_a_batch_grows_until_it_is_enough_and_a_lone_item_after_a_lone_one_is(taker):
    def unless_enough(waiting):
        return 0.0 if waiting >= 2 else HOUR

    queue, _ = queue_of(1)
    taken = taker.submit(queue.take, 4, 0, never, unless_enough)
    queue.put(2)
    assert works(taken.result(SOON)) == [1, 2]
    queue.put(3)
    assert works(queue.take(4, 0, never)) == [3]
    queue.put(4)
    assert works(queue.take(4, 0, never, unless_enough)) == [4]


def test_who_came_alone_last_time_is_not_made_to_wait_again():
    queue, _ = queue_of(1)
    assert works(queue.take(10, 0, never)) == [1]
    queue.put(2)
    assert works(queue.take(10, HOUR, never)) == [2]


def test_items_of_like_size_share_a_batch_and_the_oldest_is_in_the_first():
    queue = RequestQueue("model 'm'", 100, cost=len)
    for work in ("aaaaaa", "b", "cccccc", "d", "eeeee", "ff"):
        queue.put(work)
    assert works(queue.take(3, 0, never)) == ["aaaaaa", "cccccc", "eeeee"]
    assert works(queue.take(3, 0, never)) == ["b", "d", "ff"]


def test_whatever_their_sizes_every_item_has_its_turn():
    queue = RequestQueue("model 'm'", 100, cost=len)
    queue.put("x" * 1000)
    taken = []
    for round_ in range(3):
        for _ in range(4):
            queue.put("y")
        batch = works(queue.take(4, 0, never))
        taken.append(batch)
        assert len(batch) == 4, round_
    assert "x" * 1000 in taken[0]


def test_what_is_tried_alone_stays_alone_whatever_its_size():
    queue = RequestQueue("model 'm'", 100, cost=len)
    for work in ("a", "b"):
        queue.put(work)
    queue.put_back(queue.take(1, 0, never))
    for work in ("c", "d"):
        queue.put(work)
    assert works(queue.take(2, 0, never)) == ["a"]
    assert works(queue.take(2, 0, never)) == ["b", "c"]
