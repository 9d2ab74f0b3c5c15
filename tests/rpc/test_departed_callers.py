"""Callers that leave at any moment: the server's log has nothing of it, and others are served."""

from __future__ import annotations

import asyncio
import json
import logging
import random

import grpc
import grpc.aio
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from euclidesdb_protos.v1 import database_pb2_grpc as v1_grpc
from euclidesdb_server.rpc.departed_callers import GRPC_LOGGER, ending_with_the_call
from euclidesdb_server.rpc.event_loop import event_loop
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space

DIM = 32
PER_CONNECTION = 60
GET = v1.GetItemRequest(id="item 7")
MISSING = v1.GetItemRequest(id="missing")
MESSAGE_TIMEOUT = 0.05
CONFIG = f"""
[server]
address = 127.0.0.1:0
search_engine = exact
message_timeout = {MESSAGE_TIMEOUT}
shutdown_grace = 0
[models]
dir_path = models
[database]
db_path = data
sync = false
"""


class LeavingCallers:
    """Calls of every kind, each left at a random moment: before, while and after it is answered."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._chance = random.Random(5)
        numbers = np.random.default_rng(1).normal(size=(300, DIM)).astype("<f4")
        values = v1.Array(
            data_type=v1.DATA_TYPE_FLOAT32, shape=numbers.shape, data=numbers.tobytes()
        )
        queries = v1.VectorQueries(values=values)
        self._search = v1.FindSimilarBatchRequest(vectors=queries, models=["given"], top_k=10)
        one = v1.Vector(
            values=v1.Array(data_type=v1.DATA_TYPE_FLOAT32, shape=(DIM,), data=numbers[0].tobytes())
        )
        self._add = v1.AddItemRequest(id="x", metadata=bytes(900_000), vectors={"given": one})

    async def leave(self, calls: int) -> None:
        for _ in range(0, calls, PER_CONNECTION):
            async with grpc.aio.insecure_channel(self._address) as channel:
                stub = v1_grpc.FeatureDatabaseStub(channel)
                made = []
                for _ in range(PER_CONNECTION):
                    made.append(self._call(channel, stub))
                    if self._chance.random() < 0.3:
                        await asyncio.sleep(self._chance.choice([0, 0.0003, 0.001, 0.003]))
                    if self._chance.random() < 0.5:
                        self._chance.choice(made).cancel()
                await asyncio.sleep(self._chance.choice([0, 0.001, 0.01, MESSAGE_TIMEOUT]))
                for call in made:
                    call.cancel()

    def _call(self, channel, stub):
        timeout = self._chance.choice([None, 0.0005, 0.001, 0.005, MESSAGE_TIMEOUT])
        match self._chance.randrange(5):
            case 0:
                return stub.GetItem(GET, timeout=timeout)
            case 1:
                return stub.GetItem(MISSING, timeout=timeout)
            case 2:
                return stub.FindSimilarBatch(self._search, timeout=timeout)
            case 3:
                return stub.AddItem(self._add, timeout=timeout)
            case _:  # sends no message
                get = "/euclidesdb.v1.FeatureDatabase/GetItem"
                return channel.stream_unary(get)(timeout=timeout)


@pytest.mark.parametrize("calls", [900, pytest.param(9000, marks=pytest.mark.long)])
def test_callers_that_leave_at_any_moment_leave_no_traceback(tmp_path, calls):
    save_vector_space(tmp_path / "models", feature_dim=DIM)
    (tmp_path / "conf").write_text(CONFIG)
    log = tmp_path / "log"
    with ServerProcess("-c", tmp_path / "conf", log=log) as process:
        with euclidesdb.Client(process.address()) as db:
            vectors = np.random.default_rng(2).normal(size=(2000, DIM))
            db.add_vectors([f"item {row}" for row in range(2000)], vectors, model="given")
        asyncio.run(LeavingCallers(process.address()).leave(calls))
        with euclidesdb.Client(process.address()) as db:
            assert db.get("item 7").id == "item 7"
    for line in log.read_text().splitlines():
        assert json.loads(line)["level"] == "INFO", line


@pytest.mark.parametrize("kind", [grpc.aio.InternalError, grpc.aio.UsageError])
def test_a_call_that_is_over_ends_as_a_cancelled_one(kind):
    with pytest.raises(asyncio.CancelledError), ending_with_the_call():
        raise kind("RPC already finished.")


def test_a_call_that_is_aborted_ends_as_grpc_wants_it():
    with pytest.raises(grpc.aio.AbortError), ending_with_the_call():
        raise grpc.aio.AbortError("Locally aborted.")


def test_only_what_could_not_be_sent_is_left_out_of_the_log(caplog):
    event_loop()
    logger = logging.getLogger(GRPC_LOGGER)
    for error in (grpc.aio.InternalError("as sent"), ValueError("as raised")):
        try:
            raise error
        except Exception:
            logger.exception("in a method")
    logger.error("the port is closed")
    messages = [
        (record.message, record.exc_info and record.exc_info[0]) for record in caplog.records
    ]
    assert messages == [("in a method", ValueError), ("the port is closed", None)]


def test_only_what_could_not_be_sent_is_left_out_of_what_no_task_handles(caplog):
    async def failing_tasks():
        for error in (grpc.aio.InternalError("as sent"), ValueError("as raised")):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            del future

    asyncio.run_coroutine_threadsafe(failing_tasks(), event_loop()).result(10)
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]
