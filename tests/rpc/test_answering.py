"""Answerer: what a call holds while it is answered, and when it lets go."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from euclidesdb_protos.v1 import database_pb2 as v1
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.answering import CONTROL_BYTES, Answerer
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.call_measures import CallMeasures
from euclidesdb_server.rpc.methods import Lane, Method

REQUEST = v1.RemoveItemRequest(id="a")
TIMEOUT = 60


def method(handle, lane=Lane.CALLS, quick=False):
    parse = v1.RemoveItemRequest.FromString
    return Method("/service/Method", parse, handle, lane, is_quick=lambda _: quick)


@pytest.fixture
def answerer():
    made = Answerer(ServerConfig(threads=2, max_bytes_in_flight=1024), CallMeasures([]))
    yield made
    made.close()


async def begun(answerer, handle, quick=False):
    """An answer under way, as a task, whose call ends with it."""

    async def answered():
        call = RpcCall(None)
        try:
            return await answerer.answer(
                method(handle, quick=quick), REQUEST.SerializeToString(), call
            )
        finally:
            call.end()

    task = asyncio.create_task(answered())
    await asyncio.sleep(0)
    return task


def test_a_call_that_waits_holds_no_thread_and_goes_on_when_it_may(answerer):
    future: Future[str] = Future()

    async def handle(request, _):
        await Wait(future, None)
        return v1.RemoveItemRequest(id=request.id + future.result())

    async def scenario():
        tasks = [await begun(answerer, handle) for _ in range(100)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        future.set_result("b")
        return await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT)

    assert {*asyncio.run(scenario())} == {v1.RemoveItemRequest(id="ab").SerializeToString()}


def test_a_call_that_is_cancelled_while_it_waits_is_closed(answerer):
    waiting, closed = threading.Event(), threading.Event()

    class Noted(Future):
        def add_done_callback(self, callback):
            super().add_done_callback(callback)
            waiting.set()

    async def handle(*_):
        try:
            await Wait(Noted(), None)
        finally:
            closed.set()

    async def scenario():
        task = await begun(answerer, handle)
        assert await asyncio.to_thread(waiting.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert closed.wait(TIMEOUT)


def test_a_call_that_is_cancelled_before_it_began_never_begins(answerer):
    gate, answered = threading.Event(), []

    def wait(*_):
        gate.wait(TIMEOUT)
        return REQUEST

    def note(*_):
        answered.append(1)
        return REQUEST

    async def scenario():
        busy = [await begun(answerer, wait) for _ in range(2)]
        queued = await begun(answerer, note)
        await asyncio.sleep(0.1)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        gate.set()
        await asyncio.wait_for(asyncio.gather(*busy), TIMEOUT)

    asyncio.run(scenario())
    assert answered == []


def test_a_call_that_is_cancelled_in_the_middle_of_a_step_is_closed_after_it(answerer):
    inside, gate, closed = threading.Event(), threading.Event(), threading.Event()

    async def handle(*_):
        try:
            inside.set()
            gate.wait(TIMEOUT)
            await Wait(Future(), None)
        finally:
            closed.set()

    async def scenario():
        task = await begun(answerer, handle)
        assert await asyncio.to_thread(inside.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not closed.is_set()
        gate.set()

    asyncio.run(scenario())
    assert closed.wait(TIMEOUT)


@pytest.mark.parametrize("quick", [False, True])
def test_quick_steps_are_taken_on_the_event_loop(answerer, quick):
    future: Future[None] = Future()
    threads = []

    async def handle(request, _):
        threads.append(threading.current_thread())
        await Wait(future, None)
        threads.append(threading.current_thread())
        return request

    async def scenario():
        task = await begun(answerer, handle, quick)
        await asyncio.sleep(0.1)
        future.set_result(None)
        return await asyncio.wait_for(task, TIMEOUT)

    assert asyncio.run(scenario()) == REQUEST.SerializeToString()
    on_loop = [thread is threading.current_thread() for thread in threads]
    assert on_loop == [quick, quick]
    assert answerer.traffic(None).calls == 0


@pytest.mark.parametrize("quick", [False, True])
def test_a_call_that_ends_before_its_answer_is_awaited_leaves_nothing(answerer, quick):
    closed = threading.Event()

    async def handle(*_):
        try:
            await Wait(Future(), None)
        finally:
            closed.set()

    async def scenario():
        call = RpcCall(None)
        answer = answerer.begin(method(handle, quick=quick), REQUEST.SerializeToString(), call)
        assert answerer.traffic(None).calls == 1
        task = asyncio.create_task(answer)
        call.end()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert closed.is_set() == quick
    assert answerer.traffic(None).calls == 0


@pytest.mark.parametrize("lane", [Lane.CONTROL, Lane.CHANGES])
def test_calls_that_are_always_admitted_must_be_short(answerer, lane):
    with pytest.raises(InvalidRequest, match=r"65,537 bytes: /service/Method takes at most 65,536"):
        asyncio.run(
            answerer.answer(
                method(lambda *_: REQUEST, lane), bytes(CONTROL_BYTES + 1), RpcCall(None)
            )
        )
