"""AsyncClient: what it does differently from Client. What both do, both are tested for."""

import asyncio
import gc
import inspect
import pickle
import threading

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, ScriptedServer, Silence

TIMEOUT = 60


def numbered(count):
    return [euclidesdb.NewItem(number, vectors={"m": [1.0]}) for number in range(count)]


async def arriving(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


def public(kind):
    names = {name for name in dir(kind) if not name.startswith("_")}
    return names | {"__init__"}


def asynchronous(server, test, **options):
    """Run a test of an AsyncClient, and check that it leaves no task behind."""

    async def run():
        async with euclidesdb.AsyncClient(server.target, timeout=20, **options) as db:
            result = await test(db)
        async with asyncio.timeout(TIMEOUT):
            await no_other_tasks()
        return result

    return asyncio.run(run())


async def no_other_tasks():
    while asyncio.all_tasks() - {asyncio.current_task()}:
        gc.collect()
        await asyncio.sleep(0.01)


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    differing = {"__init__"}
    assert public(euclidesdb.Client) == public(euclidesdb.AsyncClient)
    for name in public(euclidesdb.AsyncClient) - {"target"}:
        methods = [getattr(kind, name) for kind in (euclidesdb.Client, euclidesdb.AsyncClient)]
        blocking, awaited = (inspect.signature(method).parameters for method in methods)
        assert blocking == awaited, name
        assert methods[0].__doc__ == methods[1].__doc__ or name in differing
        assert name in differing or len(methods[0].__doc__) > 20, name
        assert not inspect.iscoroutinefunction(methods[0])


def test_what_is_iterated_says_so():
    hints = {
        kind: inspect.signature(kind.items).return_annotation
        for kind in (euclidesdb.Client, euclidesdb.AsyncClient)
    }
    assert [*hints.values()] == ["Iterator[Item]", "AsyncIterator[Item]"]
    assert inspect.signature(euclidesdb.Client.get).return_annotation == "Item"
    assert inspect.iscoroutinefunction(euclidesdb.AsyncClient.get)


def test_calls_run_at_the_same_time(server):
    gate = threading.Barrier(3, timeout=TIMEOUT)

    def answer(request):
        gate.wait()
        return pb.GetItemReply(item=pb.Item(id=request.id))

    server.script("GetItem", answer)

    async def test(db):
        items = await asyncio.gather(*(db.get(number) for number in range(3)))
        assert [item.id for item in items] == ["0", "1", "2"]

    asynchronous(server, test)


def test_errors_are_those_of_the_other_client(server):
    server.script("GetItem", Fault(grpc.StatusCode.NOT_FOUND, "unknown_item", "no item 'a'"))

    async def test(db):
        with pytest.raises(euclidesdb.UnknownItem, match="no item 'a'") as caught:
            await db.get("a")
        assert (caught.value.reason, caught.value.__cause__) == ("unknown_item", None)
        with pytest.raises(TypeError, match="not float"):
            await db.get(0.5)

    asynchronous(server, test)


def test_a_deadline_ends_a_call(server):
    server.script("GetItem", Silence())

    async def test(db):
        with pytest.raises(euclidesdb.DeadlineExceeded):
            await db.get("a", timeout=0.2)

    asynchronous(server, test)


def test_a_cancelled_task_cancels_its_call(server):
    silence = Silence()
    server.script("FindSimilar", silence)

    async def test(db):
        task = asyncio.create_task(db.find_similar(id="a"))
        await asyncio.to_thread(silence.reached.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(silence.left.wait, TIMEOUT)

    asynchronous(server, test)


def test_closing_ends_the_calls_in_progress(server):
    silence = Silence()
    server.script("GetItem", silence)

    async def test(db):
        task = asyncio.create_task(db.get("a"))
        await asyncio.to_thread(silence.reached.wait, TIMEOUT)
        await db.close()
        with pytest.raises(euclidesdb.Cancelled, match="closed during the call"):
            await task
        with pytest.raises(euclidesdb.ClientClosed):
            await db.get("a")
        await db.close()

    asynchronous(server, test)


@pytest.mark.parametrize("way", [list, arriving], ids=["list", "asynchronous"])
def test_many_are_added_in_order_and_refusals_are_collected(server, way):
    def answer(request):
        refused = [
            pb.Refusal(position=place, code=3, reason="undecodable_input", message="odd")
            for place, item in enumerate(request.items)
            if item.id.endswith("7")
        ]
        return pb.AddItemsReply(items=[pb.AddItemReply() for _ in request.items], refused=refused)

    server.script("AddItems", answer)
    done = []

    async def test(db):
        given = [*numbered(1000), euclidesdb.NewItem("nowhere", image="nowhere.png", models=["m"])]
        return await db.add_many(way(given), progress=lambda *counts: done.append(counts))

    refused = asynchronous(server, test)
    assert [each.position for each in refused] == [*range(7, 1000, 10), 1000]
    assert type(refused[-1].error) is FileNotFoundError
    sent = [item.id for request in server.requests["AddItems"] for item in request.items]
    assert sorted(sent, key=int) == [str(number) for number in range(1000)]
    assert done[-1] == (1001, 101)


def test_a_cancelled_add_of_many_cancels_its_calls_and_closes_what_it_reads(server):
    silence = Silence()
    server.script("AddItems", silence)
    closed = []

    async def endless():
        number = 0
        try:
            while True:
                yield euclidesdb.NewItem(number, vectors={"m": [1.0]})
                number += 1
                await asyncio.sleep(0)
        finally:
            closed.append(number)

    async def test(db):
        task = asyncio.create_task(db.add_many(endless()))
        await asyncio.to_thread(silence.reached.wait, TIMEOUT)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(silence.left.wait, TIMEOUT)

    asynchronous(server, test)
    assert closed
    assert closed[0] <= 128 * 4, "it was read on while no call was answered"


def test_a_stream_yields_the_outcomes_in_order(server):
    async def test(db):
        return [outcome.id async for outcome in db.add_stream(arriving(numbered(2000)))]

    assert asynchronous(server, test) == [str(number) for number in range(2000)]


def test_a_stream_is_read_no_further_than_its_outcomes_are_taken(server):
    taken = []

    async def counted():
        for item in numbered(10_000):
            taken.append(item.id)
            yield item

    async def test(db):
        stream = db.add_stream(counted(), max_in_flight=10)
        for _ in range(5):
            await anext(stream)
        await asyncio.sleep(0.1)
        assert len(taken) <= 16
        await stream.aclose()

    asynchronous(server, test)


def test_a_cancelled_stream_leaves_no_task_behind(server):
    silence = Silence()
    server.script("AddItemStream", silence)

    async def never():
        yield euclidesdb.NewItem("a", vectors={"m": [1.0]})
        await asyncio.Event().wait()

    async def test(db):
        async def taking():
            async for _ in db.add_stream(never()):
                pass

        task = asyncio.create_task(taking())
        await asyncio.to_thread(silence.reached.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asynchronous(server, test)


def test_what_the_items_of_a_stream_raise_is_raised_after_the_outcomes_before(server):
    async def failing():
        for item in numbered(3):
            yield item
        raise OSError("the folder is gone")

    async def test(db):
        stream = db.add_stream(failing())
        assert [(await anext(stream)).id for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(OSError, match="the folder is gone"):
            await anext(stream)

    asynchronous(server, test)


def test_an_interrupted_add_says_where_to_resume(server):
    server.script("AddItems", None, Fault(grpc.StatusCode.UNAVAILABLE, "shutting_down", "stopping"))

    async def test(db):
        with pytest.raises(euclidesdb.AddsInterrupted, match="stopping") as caught:
            await db.add_many(arriving(numbered(300)))
        assert caught.value.resume_at == 128
        assert (128, "128") in caught.value.unknown

    asynchronous(server, test)


def test_one_client_serves_event_loops_one_after_the_other(server):
    db = euclidesdb.AsyncClient(server.target)

    async def test():
        return await db.models()

    assert asyncio.run(test()) == asyncio.run(test()) == ()
    asyncio.run(db.close())


def test_a_copy_connects_anew(server):
    async def test(db):
        async with pickle.loads(pickle.dumps(db)) as copied:
            assert (copied.target, repr(copied)) == (server.target, repr(db))
            assert await copied.models() == ()

    asynchronous(server, test)


def test_the_blocking_client_refuses_asynchronous_items(db):
    with pytest.raises(TypeError, match="items must be an iterable of NewItem"):
        db.add_many(arriving([]))
    with pytest.raises(TypeError, match="items must be an iterable of NewItem"):
        db.add_stream(arriving([]))


def test_the_blocking_client_works_where_an_event_loop_runs(server):
    async def test():
        with euclidesdb.Client(server.target) as db:
            assert [each.id for each in db.add_stream(numbered(3))] == ["0", "1", "2"]
            assert db.add_vectors(range(3), np.ones((3, 2)), model="m") == ()

    asyncio.run(test())


def test_no_server_is_a_connection_that_failed():
    with ScriptedServer() as server:
        target = server.target

    async def test():
        async with euclidesdb.AsyncClient(target, retries=0) as db:
            with pytest.raises(euclidesdb.ConnectionFailed, match="euclidesdb serve"):
                await db.models()

    asyncio.run(test())
