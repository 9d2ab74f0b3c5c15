"""Calls that wait, for their message or for a model, keep no other call from its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import psutil
import pytest
from PIL import Image

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from tests.support.calls import Stubs, refusal
from tests.support.images import encoded
from tests.support.models import SlowOnWhite, save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

WAITING = 300
WHITE = encoded(Image.new("RGB", (4, 4), "white"))
MESSAGE_TIMEOUT = 2.0


def gray(level: int) -> bytes:
    return encoded(Image.new("RGB", (4, 4), (level % 250, level // 250, 0)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A space of vectors, and a model that white images stop, with one item in each batch."""
    folder = tmp_path_factory.mktemp("waiting")
    save_vector_space(folder, "given", feature_dim=2)
    save_model(
        folder, "slow", module=SlowOnWhite(rounds=10**9), max_batch_size=1, max_queue=2 * WAITING
    )
    return folder


@pytest.fixture
def only_vectors(tmp_path):
    """The same space of vectors alone, for tests that no model keeps waiting."""
    save_vector_space(tmp_path / "models", "given", feature_dim=2)
    return tmp_path / "models"


@pytest.fixture
def serve(models, tmp_path):
    """Starts a server; in the end its workers are killed, as they may compute for ever."""
    servers = []

    def served(models=models, **config: object):
        config = {"shutdown_grace": 0, **config}
        servers.append(start_server(tmp_path / "data", models, server=config))
        return servers[-1]

    yield served
    for child in psutil.Process().children(recursive=True):
        if "euclidesdb_server.worker" in " ".join(child.cmdline()):
            child.kill()
    for server in servers:
        server.close()


def add_image(item_id: str, image: bytes) -> v1.AddItemRequest:
    return v1.AddItemRequest(id=item_id, payload=v1.Payload(image=image), models=["slow"])


def check_others_are_answered(address: str, *models: str) -> None:
    """On a new connection; models: those that are served."""
    with euclidesdb.Client(address, timeout=30) as client:
        client.add("other", vectors={"given": [1, 2]})
        assert client.find_similar(vector=[1, 2], model="given", top_k=1)["given"].ids == ("other",)
        assert client.get("other").id == "other"
        assert {model.name for model in client.models()} == {*models}


class SilentCalls:
    """Calls on one connection that send nothing."""

    def __init__(self, address: str, count: int) -> None:
        self._channel = grpc.insecure_channel(address)
        self._release = threading.Event()
        method = self._channel.stream_unary(
            "/euclidesdb.v1.FeatureDatabase/AddItem",
            request_serializer=v1.AddItemRequest.SerializeToString,
            response_deserializer=v1.AddItemReply.FromString,
        )
        self.calls = [method.future(self._nothing()) for _ in range(count)]

    def _nothing(self) -> Iterator[v1.AddItemRequest]:
        self._release.wait()
        yield from ()

    def __enter__(self) -> SilentCalls:
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._channel.close()


def test_calls_that_send_nothing_stop_no_other_and_end(serve, only_vectors):
    server = serve(only_vectors, threads=2, message_timeout=MESSAGE_TIMEOUT)
    with SilentCalls(server.address, 100) as silent:
        check_others_are_answered(server.address, "given")
        for call in silent.calls:
            error = call.exception(timeout=60)
            assert isinstance(error, grpc.Call)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "did not arrive within [server] message_timeout = 2 s" in (error.details() or "")
    with grpc.insecure_channel(server.address) as channel:
        method = channel.stream_unary("/euclidesdb.v1.FeatureDatabase/ListModels")
        with pytest.raises(grpc.RpcError, match="without a message") as refused:
            method(iter(()), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_calls_that_wait_for_a_model_need_no_threads(serve):
    server = serve(threads=4)
    with Stubs(server.address) as stubs:
        stuck = stubs.v1.AddItem.future(add_image("stuck", WHITE))
        # the client's threads are in this process, too: few, as it waits without threads
        before = threading.active_count()
        waiting = [
            stubs.v1.AddItem.future(add_image(f"{n}", gray(n)), timeout=300) for n in range(WAITING)
        ]
        check_others_are_answered(server.address, "given", "slow")
        assert threading.active_count() < before + 50
        assert not stuck.done()
        ended = [call.exception() for call in waiting if call.done()]
        assert ended == [None] * len(ended), "embedded before the image that stops the model"
        assert len(ended) < WAITING / 2
        for call in waiting:
            call.cancel()


def test_more_calls_or_bytes_than_permitted_are_refused_and_control_calls_are_not(serve):
    server = serve(max_calls=3, max_bytes_in_flight=2000)
    with Stubs(server.address) as stubs:
        stuck = [stubs.v1.AddItem.future(add_image(f"stuck {n}", WHITE)) for n in range(2)]

        def is_refused(metadata: bytes, reason: str) -> bool:
            for n, call in enumerate(stuck):
                if call.done():  # it was refused itself, next to the call that asks
                    stuck[n] = stubs.v1.AddItem.future(add_image(f"stuck {n}", WHITE))
            return reason in message_of(stubs, metadata)

        wait_for(lambda: is_refused(bytes(1900), "max_bytes"), "two calls with a model")
        refused = refusal(stubs.v1.AddItem, add_image("large", bytes(1900)))
        assert (refused.status, refused.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "overloaded",
        )
        stuck.append(stubs.v1.AddItem.future(add_image("stuck 3", WHITE)))
        wait_for(lambda: is_refused(b"", "max_calls"), "three calls with a model")
        assert len(stubs.v1.ListModels(v1.ListModelsRequest(), timeout=30).models) == 2
        assert not any(call.done() for call in stuck)


def message_of(stubs: Stubs, metadata: bytes) -> str:
    """The error of an add, or "" if there is none."""
    request = v1.AddItemRequest(id="other", metadata=metadata)
    try:
        stubs.v1.AddItem(request, timeout=30)
    except grpc.RpcError as error:
        return error.details() or ""
    return ""


def test_every_call_of_a_burst_is_answered(serve, only_vectors):
    with Stubs(serve(only_vectors).address) as stubs:
        request = v1.GetItemRequest(id="absent")
        calls = [stubs.v1.GetItem.future(request) for _ in range(1000)]
        codes = {call.exception(timeout=60).code() for call in calls}
    assert codes == {grpc.StatusCode.NOT_FOUND}
