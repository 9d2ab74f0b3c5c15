"""Whatever a worker does, each request is answered, and the model recovers or reports why not."""

import random
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import Any

import pytest

from euclidesdb_server.errors import (
    DatabaseError,
    InvalidRequest,
    ModelFailed,
    ModelLoadError,
    ModelUnavailable,
    Overloaded,
    ShuttingDown,
)
from euclidesdb_server.inference.load_errors import FilesChanged, LoadInterrupted, WorkerDied
from euclidesdb_server.inference.restarts import Pauses
from euclidesdb_server.inference.worker_feed import MAX_DIRECT_BYTES
from euclidesdb_server.inference.worker_seat import SHARED_DEATHS
from euclidesdb_server.system.worker_protocol import send_message
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState
from tests.inference.scripted_worker import Script, item, serve
from tests.support.waiting import wait_for

SOON = 30.0


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def start(script):
    models = []

    def begin(**conf):
        models.append(serve(script, **conf))
        return models[-1]

    yield begin
    script.gate.set()
    for model in models:
        model.close()
    assert not [thread.name for thread in threading.enumerate() if "scripted" in thread.name]


def answer(future):
    """What an item was answered with: its value and the size of its batch, or an error."""
    error = future.exception(SOON)
    return [int(value) for value in future.result().vector] if error is None else error


def closed_gate(model, script):
    """Keep the worker busy, and its window full, so that what comes next queues up."""
    first = model.embed(item(b"gate"))
    assert script.entered.wait(SOON)
    second = model.embed(item(1))
    wait_for(lambda: len(model._queue) == 0, "the window is full")
    return [first, second]


def test_items_that_queue_up_during_a_forward_pass_share_the_next(start, script):
    model = start()
    busy = closed_gate(model, script)
    futures = [model.embed(item(value)) for value in range(1, 9)]
    assert len(model._queue) == 8
    script.gate.set()
    assert [answer(future) for future in futures] == [[value, 8] for value in range(1, 9)]
    assert [answer(future) for future in busy] == [[4, 1], [1, 1]]
    assert len(model._queue) == 0


def test_a_lone_item_is_sent_to_an_idle_worker_by_the_thread_of_its_caller(start, script):
    model = start(max_wait_ms=1.0)
    assert [answer(model.embed(item(value))) for value in (1, 2, 3)] == [[1, 1], [2, 1], [3, 1]]
    own = threading.current_thread().name
    assert script.senders == ["model-scripted-0", own, own]
    large = Payload("image", b"x" * (MAX_DIRECT_BYTES + 1))
    assert answer(model.embed(large)) == [MAX_DIRECT_BYTES + 1, 1]
    assert script.senders[3:] == ["model-scripted-0"]


def test_what_queued_up_is_sent_by_the_thread_that_received_the_last_results(start, script):
    model = start()
    busy = closed_gate(model, script)
    futures = [model.embed(item(value)) for value in (1, 2)]
    script.gate.set()
    assert [answer(future) for future in busy + futures] == [[4, 1], [1, 1], [1, 2], [2, 2]]
    assert script.senders[2:] == ["model-scripted-0-receiver"]


def test_a_batch_has_at_most_max_batch_size_items(start, script):
    model = start(max_batch_size=3)
    closed_gate(model, script)
    futures = [model.embed(item(value)) for value in range(1, 9)]
    script.gate.set()
    assert [answer(future)[1] for future in futures] == [3, 3, 3, 3, 3, 3, 2, 2]


def test_an_item_with_its_own_error_fails_alone(start, script):
    model = start()
    closed_gate(model, script)
    futures = [model.embed(item(value)) for value in (1, b"bad", 2)]
    script.gate.set()
    good, bad, other = [answer(future) for future in futures]
    assert (good, other) == ([1, 3], [2, 3])
    assert isinstance(bad, ModelFailed)


@pytest.mark.parametrize(
    ("poison", "how"),
    [(b"crash", "signal 11 (SIGSEGV)"), (b"hang", "not respond within inference_timeout = 0.5 s")],
)
def test_an_item_that_kills_the_worker_fails_alone(start, script, poison, how):
    model = start(inference_timeout=0.5 if poison == b"hang" else SOON)
    closed_gate(model, script)
    futures = [model.embed(item(value)) for value in (1, 2, poison, 3)]
    script.gate.set()
    answers = [answer(future) for future in futures]
    failed = answers.pop(2)
    assert answers == [[1, 1], [2, 1], [3, 1]]
    assert isinstance(failed, ModelFailed)
    assert how in str(failed)
    assert [b"x", b"xx", poison, b"xxx"] in script.batches, "they shared a batch at first"
    wait_for(lambda: model.state == (ModelState.READY, ""), "the worker is back")


def test_an_item_that_killed_workers_is_refused_at_once_until_it_is_loaded_again(start, script):
    model = start()
    first = answer(model.embed(item(b"crash")))
    wait_for(lambda: len(script.processes) == 3, "the third worker")
    repeated = [answer(model.embed(item(b"crash"))) for _ in range(5)]
    assert {(type(error), str(error)) for error in repeated} == {(ModelFailed, str(first))}
    assert answer(model.embed(item(7))) == [7, 1]
    assert len(script.processes) == 3
    again = start()
    assert "died on this item" in str(answer(again.embed(item(b"crash"))))
    wait_for(lambda: len(script.processes) == 6, "workers of the model that was loaded again")


def test_an_item_that_may_have_died_of_another_model_is_not_remembered(start, script):
    model = start(worker="shared")
    for _ in range(2):
        assert "died on this item" in str(answer(model.embed(item(b"crash"))))
    wait_for(lambda: len(script.processes) == 5, "the fifth worker")


def test_requests_of_a_worker_killed_from_outside_are_answered_by_the_next(start, script):
    model = start()
    futures = closed_gate(model, script)
    script.processes[0].kill()
    script.gate.set()
    assert [answer(future) for future in futures] == [[4, 1], [1, 1]]
    assert len(script.processes) == 2


def test_a_worker_that_dies_idle_is_replaced(start, script):
    model = start()
    assert model.wait_until_started(SOON)
    script.processes[0].kill()
    wait_for(lambda: len(script.processes) == 2, "another worker")
    assert answer(model.embed(item(5))) == [5, 1]


def test_items_that_kill_workers_fail_and_all_others_are_answered(start, script):
    model = start(max_batch_size=1)
    busy = closed_gate(model, script)
    values: list[bytes | int] = [b"crash", 1]
    futures = [model.embed(item(value)) for value in values * 12]
    script.gate.set()
    answers = [answer(future) for future in futures]
    assert [isinstance(found, ModelFailed) for found in answers[::2]] == [True] * 12
    assert answers[1::2] == [[1, 1]] * 12
    assert [answer(future) for future in busy] == [[4, 1], [1, 1]]


def test_a_row_of_items_that_kill_workers_takes_the_model_from_no_other_caller(start, script):
    model = start()
    for number in range(20):  # each costs two workers
        assert "signal 11" in str(answer(model.embed(item(b"crash %d" % number))))
        assert model.state[0] is not ModelState.QUARANTINED
    assert answer(model.embed(item(3))) == [3, 1]
    assert model.state == (ModelState.READY, "")
    assert len(script.processes) == 41


NEVER_READY = (
    "model.conf says feature_dim = 512",
    WorkerDied("its worker died while loading: it exited with code 3"),
)


@pytest.mark.parametrize("reason", NEVER_READY, ids=str)
def test_a_model_that_cannot_be_loaded_at_its_first_start_is_quarantined(start, script, reason):
    script.failing_starts = [reason if isinstance(reason, Exception) else ModelLoadError(reason)]
    model = start()
    assert model.wait_until_started(SOON)
    assert model.state == (ModelState.QUARANTINED, str(reason))
    with pytest.raises(ModelUnavailable, match=f"is quarantined: {reason}"):
        model.embed(item(1))
    assert script.failing_starts == script.processes == []


MAY_PASS = (
    OSError(12, "Cannot allocate memory"),
    LoadInterrupted("it did not load in start_timeout = 8 s"),
    RuntimeError("can't start new thread"),
    MemoryError(),
)


@pytest.mark.parametrize("error", MAY_PASS, ids=repr)
def test_a_first_start_that_may_succeed_later_is_repeated(start, script, error):
    script.failing_starts = [error] * 7
    model = start(workers=2)
    assert answer(model.embed(item(1))) == [1, 1]
    assert model.wait_until_started(SOON)
    assert model.state == (ModelState.READY, "")


AFTERWARDS = (*MAY_PASS, ModelLoadError("it returned NaN"), WorkerDied("it exited with code 1"))


@pytest.mark.parametrize("error", AFTERWARDS, ids=repr)
def test_a_model_that_was_ready_is_restarted_whatever_fails(start, script, error):
    model = start()
    assert model.wait_until_started(SOON)
    script.failing_starts = [error] * 7
    script.processes[0].kill()
    wait_for(lambda: not script.failing_starts, "seven attempts")
    assert answer(model.embed(item(1))) == [1, 1]
    assert len(script.processes) == 2


def test_one_seat_that_cannot_be_filled_leaves_three_serving(start, script):
    model = start(workers=4)
    assert model.wait_until_started(SOON)
    script.failing_starts = [OSError(12, "Cannot allocate memory")] * 9
    script.processes[2].kill()
    while script.failing_starts:
        assert answer(model.embed(item(3))) == [3, 1]
        assert model.state == (ModelState.READY, "")
    wait_for(lambda: len(script.processes) == 5, "the fourth worker is back")


def test_while_no_worker_can_be_started_the_state_says_why(start, script):
    model = start(pauses=Pauses(first=SOON))
    assert model.wait_until_started(SOON)
    script.failing_starts = [OSError(12, "Cannot allocate memory")]
    model.embed(item(b"crash"))
    wait_for(lambda: "next attempt" in model.state[1], "the outcome of an attempt")
    reason = "[Errno 12] Cannot allocate memory; the next attempt begins after a pause of 30 s"
    assert model.state == (ModelState.RESTARTING, reason)


def test_files_that_changed_end_the_restarts_of_a_model(start, script):
    model = start()
    assert model.wait_until_started(SOON)
    script.failing_starts = [FilesChanged("the files have changed")]
    error = answer(model.embed(item(b"crash")))
    assert isinstance(error, ModelUnavailable)
    assert "is quarantined: the files have changed" in str(error)
    assert model.state == (ModelState.QUARANTINED, "the files have changed")


def test_a_shared_worker_may_die_of_another_model_while_this_one_loads(start, script):
    death = WorkerDied("its worker died while loading: it exited with code 3")
    script.failing_starts = [death] * (SHARED_DEATHS - 1)
    model = start(worker="both")
    assert answer(model.embed(item(1))) == [1, 1]
    script.failing_starts = [death] * SHARED_DEATHS
    another = start(worker="both")
    assert another.wait_until_started(SOON)
    assert another.state == (ModelState.QUARANTINED, str(death))


def test_a_request_that_was_cancelled_is_not_run(start, script):
    model = start()
    closed_gate(model, script)
    futures = [model.embed(item(value)) for value in (1, 2, 3)]
    assert futures[1].cancel()
    script.gate.set()
    assert [answer(futures[0]), answer(futures[2])] == [[1, 2], [3, 2]]
    with pytest.raises(CancelledError):
        futures[1].result(0)


def test_a_full_queue_is_overloaded_at_once(start, script):
    model = start(max_queue=2)
    closed_gate(model, script)
    futures = [model.embed(item(value)) for value in (1, 2)]
    with pytest.raises(Overloaded, match="model 'scripted' has 2 items waiting"):
        model.embed(item(3))
    script.gate.set()
    assert [answer(future) for future in futures] == [[1, 2], [2, 2]]


def test_another_kind_of_input_is_refused(start):
    with pytest.raises(InvalidRequest, match="takes 'image', not 'text'"):
        start().embed(Payload("text", b"hello"))


class Nonsense(Script):
    """Answers the item `faulty` with whatever the test wants to send."""

    def __init__(self, say):
        super().__init__()
        self.say = say

    def answer(self, connection, batch, items):
        if b"faulty" in items:
            self.say(connection, batch)
        else:
            super().answer(connection, batch, items)


def done(batch, *, errors=(None,), parts=(b"\0" * 8, b"")):
    return {"type": "done", "batch": batch, "errors": errors}, parts


ANSWERS = {
    "another batch": lambda batch: done(batch + 7),
    "no batch": lambda _: done(None),
    "a list for a batch": lambda _: done([]),
    "too many answers": lambda batch: done(batch, errors=[None, None]),
    "no errors": lambda batch: done(batch, errors=None),
    "a short vector": lambda batch: done(batch, parts=[b"\0" * 4, b""]),
    "odd bytes": lambda batch: done(batch, parts=[b"\0" * 7, b""]),
    "one part": lambda batch: done(batch, parts=[b"\0" * 8]),
    "an unknown error": lambda batch: done(batch, errors=[{"kind": "x", "message": "y"}]),
    "a text for an error": lambda batch: done(batch, errors=["oops"]),
    "a number for an error": lambda batch: done(batch, errors=[5]),
}


@pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS)
def test_an_invalid_answer_costs_a_worker_and_no_request_is_forgotten(start, script, reply):
    faulty = Nonsense(lambda connection, batch: send_message(connection, *reply(batch)))
    script.start = faulty.start
    model = start()
    assert isinstance(answer(model.embed(item(b"faulty"))), ModelFailed)
    assert answer(model.embed(item(3))) == [3, 1]
    assert len(faulty.processes) > 1


@pytest.mark.parametrize(
    "frame", [b"\xff\x00", b"[" * 100_000, b"[]"], ids=["junk", "deep", "list"]
)
def test_a_protocol_violation_costs_a_worker_and_no_request_is_forgotten(start, script, frame):
    faulty = Nonsense(lambda connection, _: connection.send_bytes(frame))
    script.start = faulty.start
    model = start()
    error = answer(model.embed(item(b"faulty")))
    assert isinstance(error, ModelFailed)
    assert "not a message" in str(error)
    assert answer(model.embed(item(3))) == [3, 1]


def test_close_answers_what_runs_and_refuses_what_waits(start, script):
    model = start()
    running = closed_gate(model, script)
    waiting = [model.embed(item(value)) for value in (1, 2)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(model.close)
        assert [type(answer(future)) for future in waiting] == [ShuttingDown] * 2
        assert not closing.done()
        script.gate.set()
        closing.result(SOON)
    assert [answer(future) for future in running] == [[4, 1], [1, 1]]
    with pytest.raises(ShuttingDown):
        model.embed(item(1))


def test_close_waits_for_the_answer_of_a_worker_that_is_at_work(start, script):
    model = start()
    running = model.embed(item(b"gate"))
    assert script.entered.wait(SOON)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(model.close)
        wait_for(lambda: is_closed(model), "it is closing")
        assert not script.processes[0].killed.wait(0.1)
        script.gate.set()
        closing.result(SOON)
    assert answer(running) == [4, 1]


def is_closed(model):
    try:
        model.embed(item(1))
    except ShuttingDown:
        return True
    return False


def test_close_does_not_wait_for_a_worker_that_hangs(start, script):
    model = start(inference_timeout=0.3)
    hung = model.embed(item(b"hang"))
    wait_for(lambda: script.batches, "the worker has it")
    model.close()
    assert isinstance(answer(hung), ShuttingDown)


def test_close_ends_a_start_that_is_under_way(script):
    begun = threading.Event()
    asked = threading.Event()

    def start_slowly(give_up, _device):
        begun.set()
        while not give_up():
            asked.wait(0.005)
        raise ModelLoadError("not wanted any more")

    script.start = start_slowly
    model = serve(script)
    assert begun.wait(SOON)
    future = model.embed(item(1))
    model.close()
    assert isinstance(answer(future), ShuttingDown)
    assert model.wait_until_started(0), "a waiter would wait forever"


def test_close_may_be_called_again(start):
    model = start()
    model.close()
    model.close()


@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_answered_whatever_happens(start, script, seed):
    """Four callers, poison, deaths from outside, callers that go away; then an early close."""
    model = start(inference_timeout=0.3, max_batch_size=4)
    assert model.wait_until_started(SOON)
    futures = []

    def call(number):
        chance = random.Random(f"{seed}-{number}")
        for _ in range(150):
            value: Any = chance.choices([b"crash", b"hang", b"bad", 3], [4, 0.5, 10, 200])[0]
            future = model.embed(item(value))
            futures.append(future)
            if chance.random() < 0.1:
                future.cancel()
            elif chance.random() < 0.1:
                wait([future], SOON)
            elif chance.random() < 0.05:
                script.processes[-1].kill()

    with ThreadPoolExecutor(4) as pool:
        for calling in [pool.submit(call, number) for number in range(4)]:
            calling.result(SOON * 2)
    if seed != 0:
        wait(futures, SOON)
    model.close()
    assert all(future.done() for future in futures)
    errors = {type(future.exception()) for future in futures if not future.cancelled()}
    assert all(error is type(None) or issubclass(error, DatabaseError) for error in errors)
    assert len(model._queue) == 0
