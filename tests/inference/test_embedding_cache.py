"""EmbeddingCache: what is known is not run again, and those who ask together share one run."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest

from euclidesdb_server.errors import ModelFailed, ModelUnavailable, Overloaded
from euclidesdb_server.inference import EmbeddingCache
from euclidesdb_server.values.embedding import Embedding
from tests.support.stores import vector

MODEL: Any = object()
KEY = ("version", b"digest")
ANSWER = Embedding(vector(1, 2), vector(3))


class Runs:
    """What a cache is to run; each run waits to be answered by the test."""

    def __init__(self):
        self.futures: list[Future] = []

    def __call__(self):
        self.futures.append(Future())
        return self.futures[-1]


def answered(embedding=ANSWER):
    future = Future()
    future.set_result(embedding)
    return future


def never():
    raise AssertionError("it is known")


@pytest.fixture
def cache():
    return EmbeddingCache(1 << 20)


@pytest.fixture
def runs():
    return Runs()


def test_what_is_known_is_not_run(cache):
    first = cache.embed(KEY, MODEL, answered).result(0)
    again = cache.embed(KEY, MODEL, never).result(0)
    assert again.vector.tolist() == first.vector.tolist() == [1, 2]
    assert again.predictions.tolist() == [3]


@pytest.mark.parametrize("other", [("another version", b"digest"), ("version", b"another")])
def test_another_version_and_another_payload_are_run(cache, runs, other):
    cache.embed(KEY, MODEL, answered)
    cache.embed(other, MODEL, runs)
    assert len(runs.futures) == 1


def test_those_who_ask_together_share_one_run(cache, runs):
    asked = [cache.embed(KEY, MODEL, runs) for _ in range(3)]
    (run,) = runs.futures
    assert not any(future.done() for future in asked)
    run.set_result(ANSWER)
    assert [future.result(0) for future in asked] == [ANSWER] * 3


def test_who_leaves_takes_nothing_from_the_others(cache, runs):
    first, second = [cache.embed(KEY, MODEL, runs) for _ in range(2)]
    first.cancel()
    (run,) = runs.futures
    assert not run.cancelled()
    run.set_result(ANSWER)
    assert second.result(0) is ANSWER
    with pytest.raises(CancelledError):
        first.result(0)


def test_a_run_without_waiters_is_cancelled_and_the_next_starts_anew(cache, runs):
    for future in [cache.embed(KEY, MODEL, runs) for _ in range(2)]:
        future.cancel()
    assert runs.futures[0].cancelled()
    third = cache.embed(KEY, MODEL, runs)
    runs.futures[1].set_result(ANSWER)
    assert third.result(0) is ANSWER


def test_a_run_that_is_with_the_model_serves_who_asks_after_all_have_left(cache, runs):
    left = cache.embed(KEY, MODEL, runs)
    runs.futures[0].set_running_or_notify_cancel()
    left.cancel()
    later = cache.embed(KEY, MODEL, runs)
    assert len(runs.futures) == 1
    runs.futures[0].set_result(ANSWER)
    assert later.result(0) is ANSWER


def test_a_failure_reaches_every_waiter_and_is_not_cached(cache, runs):
    asked = [cache.embed(KEY, MODEL, runs) for _ in range(2)]
    runs.futures[0].set_exception(ModelFailed("it raised"))
    failures = [future.exception(0) for future in asked]
    assert [str(failure) for failure in failures] == ["it raised"] * 2
    assert failures[0] is not failures[1]
    assert cache.embed(KEY, MODEL, answered).result(0) is ANSWER


def test_a_refusal_is_not_cached(cache):
    def refuse():
        raise Overloaded("later")

    with pytest.raises(Overloaded):
        cache.embed(KEY, MODEL, refuse)
    assert cache.embed(KEY, MODEL, answered).result(0) is ANSWER


def test_cancellations_in_many_threads_leave_the_other_waiters_their_answer():
    cache = EmbeddingCache(0)  # keeps nothing: every call joins a run, or begins one
    with ThreadPoolExecutor(2) as model, ThreadPoolExecutor(8) as callers:

        def ask(number):
            key = ("version", bytes([number % 4]))
            future = cache.embed(key, MODEL, lambda: model.submit(Embedding, vector(*key[1]), None))
            if number % 3 == 0 and future.cancel():
                return None
            return future.result(30).vector.tolist()

        answers = [*callers.map(ask, range(4000))]
    assert all(answer in (None, [number % 4]) for number, answer in enumerate(answers))
    assert None not in answers[1::3]
    assert cache._pending == {}


def test_what_was_used_longest_ago_is_forgotten(runs):
    cache = EmbeddingCache(3 * (500 + 8))
    keys = [("version", bytes([number])) for number in range(4)]
    for key in keys[:3]:
        cache.embed(key, MODEL, lambda: answered(Embedding(vector(0, 0), None)))
    cache.embed(keys[0], MODEL, never)
    cache.embed(keys[3], MODEL, lambda: answered(Embedding(vector(0, 0), None)))
    cache.embed(keys[0], MODEL, never)
    cache.embed(keys[1], MODEL, runs)
    assert len(runs.futures) == 1


def test_what_is_larger_than_the_cache_is_not_kept(runs):
    cache = EmbeddingCache(600)
    large = Embedding(vector(*range(100)), None)
    assert cache.embed(KEY, MODEL, lambda: answered(large)).result(0) is large
    cache.embed(KEY, MODEL, runs)
    assert len(runs.futures) == 1


def test_runs_of_another_instance_of_the_model_are_not_shared(cache):
    first, second = Future(), Future()
    cache.embed(KEY, MODEL, lambda: first)
    answer = cache.embed(KEY, object(), lambda: second)
    first.set_exception(ModelUnavailable("no longer served"))
    second.set_result(ANSWER)
    assert answer.result(0) is ANSWER
