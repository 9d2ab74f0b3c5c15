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


class Worker:
    """A taker that is busy as the test says, and otherwise takes and sends what is due."""

    def __init__(self, max_size=10, max_wait=0.0, busy=lambda _waiting: 0.0, limit=100):
        self.max_size, self.max_wait, self.busy_for = max_size, max_wait, busy
        self.limit = limit
        self.is_idle = True
        self.alone = True
        self.takes = True
        self.sent = []

    def has_room(self, *, alone):
        return self.alone or not alone

    def may_block(self, works):
        return len([*works]) > self.limit

    def add(self, batch):
        return len(batch) if self.takes else None

    def send(self, number, batch):
        assert number == len(batch)
        self.sent.append(works(batch))


def take(queue, max_size, max_wait, give_up=never, busy=lambda _waiting: 0.0):
    """The requests of a batch; none if it gave up."""
    taken = queue.take(Worker(max_size, max_wait, busy), give_up)
    return [] if taken is None else taken[1]


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
    assert works(take(queue, 10, 0)) == [1, 2, 3]
    assert len(queue) == 0


def test_a_batch_has_at_most_so_many_and_the_rest_keeps_its_order():
    queue, _ = queue_of(1, 2, 3, 4, 5)
    assert works(take(queue, 2, HOUR)) == [1, 2]
    assert works(take(queue, 2, HOUR)) == [3, 4]
    assert works(take(queue, 2, 0)) == [5]


def test_a_full_batch_does_not_wait(taker):
    queue, _ = queue_of(1)
    taken = taker.submit(take, queue, 2, HOUR)
    queue.put(2)
    assert works(taken.result(SOON)) == [1, 2]


def test_the_wait_is_counted_from_the_arrival_of_the_first(taker):
    queue, _ = queue_of(1, 2)
    queue._waiting[0].arrived = time.monotonic() - HOUR
    assert works(taker.submit(take, queue, 10, HOUR).result(SOON)) == [1, 2]


def test_a_take_waits_for_the_first_request(taker):
    queue, _ = queue_of()
    taken = taker.submit(take, queue, 10, 0)
    queue.put(1)
    assert works(taken.result(SOON)) == [1]


def test_a_full_queue_refuses_at_once():
    queue, _ = queue_of(1, 2, limit=2)
    with pytest.raises(Overloaded, match="model 'm' has 2 items waiting"):
        queue.put(3)
    take(queue, 1, 0)
    queue.put(3)
    assert works(take(queue, 5, 0)) == [2, 3]


def test_requests_that_were_cancelled_leave_room_for_others():
    queue, futures = queue_of(1, 2, limit=2)
    assert futures[0].cancel()
    queue.put(3)
    with pytest.raises(Overloaded):
        queue.put(4)
    assert works(take(queue, 10, 0)) == [2, 3]


def test_a_cancelled_request_is_never_handed_out():
    queue, futures = queue_of(1, 2, 3)
    assert futures[1].cancel()
    assert works(take(queue, 10, 0)) == [1, 3]


def test_a_batch_of_cancelled_requests_is_not_run(taker):
    queue, futures = queue_of(1, 2)
    for future in futures:
        assert future.cancel()
    taken = taker.submit(take, queue, 10, 0)
    queue.put(3)
    assert works(taken.result(SOON)) == [3]


def test_a_request_that_was_handed_out_cannot_be_cancelled():
    queue, (future,) = queue_of(1)
    take(queue, 1, 0)
    assert not future.cancel()


def test_what_is_put_back_comes_first_and_alone():
    queue, _ = queue_of(1, 2, 3)
    batch = take(queue, 2, 0)
    queue.put(4)
    queue.put_back(batch)
    assert [works(take(queue, 10, HOUR)) for _ in range(2)] == [[1], [2]]
    assert works(take(queue, 10, 0)) == [3, 4]


def test_what_is_put_back_into_a_closed_queue_is_answered():
    queue, futures = queue_of(1, 2)
    batch = take(queue, 2, 0)
    queue.refuse(ShuttingDown("stopping"))
    queue.put_back(batch)
    assert [str(future.exception(0)) for future in futures] == ["stopping"] * 2


def test_refuse_answers_all_who_wait_and_all_who_come():
    queue, futures = queue_of(1, 2, 3)
    futures[1].cancel()
    queue.put_back(take(queue, 1, 0))
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
    assert works(take(queue, 1, 0)) == [1]


def test_a_take_that_is_not_wanted_any_more_returns_nothing(taker):
    queue, _ = queue_of()
    gone = threading.Event()
    taken = taker.submit(take, queue, 10, 0, gone.is_set)
    gone.set()
    queue.wake()
    assert taken.result(SOON) == []


def test_a_take_that_gives_up_while_waiting_for_more_leaves_the_requests_queued(taker):
    queue, _ = queue_of(1)
    gone, looked = threading.Event(), threading.Event()

    def give_up():
        looked.set()
        return gone.is_set()

    taken = taker.submit(take, queue, 2, HOUR, give_up)
    assert looked.wait(SOON)
    gone.set()
    queue.wake()
    assert taken.result(SOON) == []
    assert works(take(queue, 2, 0)) == [1]


def test_every_request_of_many_threads_is_handed_out_once():
    queue, _ = queue_of(limit=10_000)
    taken = []
    done = threading.Event()

    def take_all():
        while batch := take(queue, 7, 0, done.is_set):
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
    taken.extend(works(take(queue, 10_000, 0)) if len(queue) else [])
    assert sorted(taken) == list(range(1000))


def test_a_batch_grows_while_the_worker_is_busy(taker):
    queue, _ = queue_of(1)
    free = threading.Event()
    taken = taker.submit(take, queue, 10, 0, never, lambda _waiting: 0.0 if free.is_set() else HOUR)
    queue.put(2)
    assert not taken.done()
    free.set()
    queue.wake()
    assert works(taken.result(SOON)) == [1, 2]


def test_a_full_batch_does_not_wait_for_a_busy_worker():
    queue, _ = queue_of(1, 2)
    assert works(take(queue, 2, 0, never, lambda _waiting: HOUR)) == [1, 2]


def test_a_batch_grows_until_it_is_enough_and_a_lone_item_after_a_lone_one_is(taker):
    def unless_enough(waiting):
        return 0.0 if waiting >= 2 else HOUR

    queue, _ = queue_of(1)
    taken = taker.submit(take, queue, 4, 0, never, unless_enough)
    queue.put(2)
    assert works(taken.result(SOON)) == [1, 2]
    queue.put(3)
    assert works(take(queue, 4, 0)) == [3]
    queue.put(4)
    assert works(take(queue, 4, 0, never, unless_enough)) == [4]


def test_who_came_alone_last_time_is_not_made_to_wait_again():
    queue, _ = queue_of(1)
    assert works(take(queue, 10, 0)) == [1]
    queue.put(2)
    assert works(take(queue, 10, HOUR)) == [2]


def test_items_of_like_size_share_a_batch_and_the_oldest_is_in_the_first():
    queue = RequestQueue("model 'm'", 100, cost=len)
    for work in ("aaaaaa", "b", "cccccc", "d", "eeeee", "ff"):
        queue.put(work)
    assert works(take(queue, 3, 0)) == ["aaaaaa", "cccccc", "eeeee"]
    assert works(take(queue, 3, 0)) == ["b", "d", "ff"]


def test_whatever_their_sizes_every_item_has_its_turn():
    queue = RequestQueue("model 'm'", 100, cost=len)
    queue.put("x" * 1000)
    taken = []
    for round_ in range(3):
        for _ in range(4):
            queue.put("y")
        batch = works(take(queue, 4, 0))
        taken.append(batch)
        assert len(batch) == 4, round_
    assert "x" * 1000 in taken[0]


def test_what_is_tried_alone_stays_alone_whatever_its_size():
    queue = RequestQueue("model 'm'", 100, cost=len)
    for work in ("a", "b"):
        queue.put(work)
    queue.put_back(take(queue, 1, 0))
    for work in ("c", "d"):
        queue.put(work)
    assert works(take(queue, 2, 0)) == ["a"]
    assert works(take(queue, 2, 0)) == ["b", "c"]


def attached(last=1, **settings):
    """A queue, and a worker that it may send to, after a batch of so many."""
    queue, _ = queue_of(*range(last))
    take(queue, last, 0)
    worker = Worker(**settings)
    queue.attach(worker)
    return queue, worker


def test_a_lone_request_is_sent_to_an_idle_worker_by_its_caller():
    queue, worker = attached(max_wait=HOUR)
    future = queue.put(1)
    assert worker.sent == [[1]]
    assert not future.cancel()
    assert len(queue) == 0
    queue.detach(worker)
    queue.put(2)
    assert (worker.sent, len(queue)) == ([[1]], 1)


@pytest.mark.parametrize("reason", ["busy", "expecting more", "large", "gone"])
def test_a_caller_leaves_to_others_what_is_not_due_or_may_take_long_to_send(reason):
    queue, worker = attached(
        last=2 if reason == "expecting more" else 1,
        max_wait=HOUR,
        limit=0 if reason == "large" else 1,
        busy=lambda _waiting: float(reason == "busy"),
    )
    worker.takes = reason != "gone"
    queue.put(7)
    assert worker.sent == []
    assert works(take(queue, 1, 0)) == [7]


def test_no_caller_sends_a_request_that_is_retried_alone_nor_one_to_a_worker_that_has_a_batch():
    queue, worker = attached()
    worker.is_idle = False
    queue.put(1)
    worker.is_idle = True
    queue.put_back(take(queue, 1, 0))
    queue.put(2)
    assert worker.sent == []
    assert [works(take(queue, 10, 0)) for _ in range(2)] == [[1], [2]]


def test_a_request_retried_alone_waits_until_the_worker_has_nothing_else(taker):
    queue, _ = queue_of(1)
    queue.put_back(take(queue, 1, 0))
    worker = Worker()
    worker.alone = False
    taken = taker.submit(queue.take, worker, never)
    queue.put(2)
    assert not taken.done()
    worker.alone = True
    queue.hand_over(worker)
    assert works(taken.result(SOON)[1]) == [1]
    assert worker.sent == []


def test_a_worker_that_completed_a_batch_is_sent_what_queued_up_meanwhile():
    queue, worker = attached(max_size=2, max_wait=HOUR)
    worker.is_idle = False
    for work in (1, 2, 3):
        queue.put(work)
    worker.is_idle = True
    queue.hand_over(worker)
    queue.hand_over(worker)
    assert worker.sent == [[1, 2]], "then, one request is not as many as last time"
    assert len(queue) == 1


def test_what_is_not_due_when_a_batch_is_completed_is_left_to_the_worker_that_waits(taker):
    free = threading.Event()
    queue, worker = attached(limit=1, busy=lambda _waiting: 0.0 if free.is_set() else HOUR)
    taken = taker.submit(queue.take, worker, never)
    for work in (1, 2):
        queue.put(work)
    assert not taken.done()
    free.set()
    queue.hand_over(worker)
    assert works(taken.result(SOON)[1]) == [1, 2]
    assert worker.sent == []


def test_a_batch_as_large_as_the_last_one_does_not_wait_for_more():
    queue, _ = queue_of(1, 2, 3)
    take(queue, 10, 0)
    for work in (4, 5, 6):
        queue.put(work)
    assert works(take(queue, 10, HOUR)) == [4, 5, 6]


def test_a_request_that_no_worker_took_is_handed_out_alone():
    queue, _ = queue_of(1, 2)
    worker = Worker()
    worker.takes = False
    looks = iter([False, True])
    assert queue.take(worker, lambda: next(looks)) is None
    assert [works(take(queue, 10, 0)) for _ in range(2)] == [[1], [2]]


def test_while_a_caller_sends_its_request_no_other_batch_is_taken_for_that_worker(taker):
    queue, worker = attached()
    sending, go_on = threading.Event(), threading.Event()

    def send_slowly(_number, _batch):
        sending.set()
        assert go_on.wait(SOON)

    worker.send = send_slowly
    with ThreadPoolExecutor(1) as caller:
        calling = caller.submit(queue.put, 1)
        assert sending.wait(SOON)
        taken = taker.submit(queue.take, worker, never)
        queue.put(2)
        queue.hand_over(worker)
        assert not taken.done()
        go_on.set()
        calling.result(SOON)
        assert works(taken.result(SOON)[1]) == [2]
