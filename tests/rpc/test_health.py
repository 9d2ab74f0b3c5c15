"""`grpc.health.v1.Health`, by both transports, with real models whose workers are killed."""

from __future__ import annotations

import threading
from contextlib import suppress

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

import euclidesdb
from euclidesdb_server.config.server import Transport
from tests.rpc.test_transports import needs_nghttp2
from tests.support.calls import TIMEOUT, refusal
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def transport(request):
    return Transport(request.param)


class Served:
    """A server of a model, a space of vectors and a broken folder, and its health."""

    def __init__(self, folder, transport, **config):
        self.models = folder / "models"
        save_model(self.models, "tiny")
        save_vector_space(self.models, "other")
        (self.models / "broken").mkdir()
        self.server = start_server(
            folder / "data", self.models,
            server={"transport": transport, "shutdown_grace": 30.0, **config},
        )  # fmt: skip
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(self.server.address, options=options)
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def status(self, name):
        return self.stub.Check(pb.HealthCheckRequest(service=name), timeout=TIMEOUT).status

    def statuses(self):
        reply = self.stub.List(pb.HealthListRequest(), timeout=TIMEOUT)
        return {name: each.status for name, each in reply.statuses.items()}

    def watch(self, name):
        return self.stub.Watch(pb.HealthCheckRequest(service=name), timeout=TIMEOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.server.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, transport):
    with Served(tmp_path_factory.mktemp(transport), transport) as served:
        yield served


def stop_workers(models):
    """Stop the worker of a model from starting again, and kill it."""
    program = models / "tiny" / "program.pt"
    program.rename(program.with_suffix(".away"))
    for child in psutil.Process().children():
        if "euclidesdb_server.worker" in child.cmdline():
            child.kill()


def test_the_server_and_its_services_are_serving(served):
    for name in ("", "euclidesdb.v1.FeatureDatabase", "euclidesproto.Similar"):
        assert served.status(name) == SERVING


def test_a_model_is_serving_while_it_is_ready_and_a_broken_folder_never_is(served):
    assert served.status("models/tiny") == SERVING
    assert served.status("models/broken") == NOT_SERVING
    assert served.status("models") == NOT_SERVING, "one of them is broken"


def test_all_names_are_listed(served):
    assert served.statuses() == {
        "": SERVING,
        "euclidesdb.v1.FeatureDatabase": SERVING,
        "euclidesproto.Similar": SERVING,
        "grpc.health.v1.Health": SERVING,
        "models": NOT_SERVING,
        "models/tiny": SERVING,
        "models/other": SERVING,
        "models/broken": NOT_SERVING,
    }


@pytest.mark.parametrize("name", ["nothing", "models/", "models/nothing", "a\nb", "x" * 1000])
def test_another_name_is_not_found(served, name):
    refused = refusal(served.stub.Check, pb.HealthCheckRequest(service=name))
    assert (refused.status, refused.reason) == (grpc.StatusCode.NOT_FOUND, "not_found")
    assert "models/digits" in refused.message
    watched = served.watch(name)
    assert next(watched).status == UNKNOWN
    watched.cancel()


def test_who_watches_an_unloaded_model_hears_of_it(served):
    watched = served.watch("models/other")
    assert next(watched).status == SERVING
    with euclidesdb.Client(served.server.address) as client:
        client.unload_model("other")
        assert next(watched).status == UNKNOWN
        client.load_model("other")
        assert next(watched).status == SERVING
    watched.cancel()


def test_a_client_that_watches_again_and_again_does_not_use_up_the_streams(served):
    for _ in range(1200):  # more than may watch
        watched = served.watch("models/tiny")
        assert next(watched).status == SERVING
        watched.cancel()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_request_that_needs_no_key_is_short(served, compression):
    request = pb.HealthCheckRequest(service="x" * 1100)
    for method in (served.stub.Check, lambda *args, **more: next(served.stub.Watch(*args, **more))):
        with pytest.raises(grpc.RpcError, match="larger than max") as refused:
            method(request, timeout=TIMEOUT, compression=compression)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_watches_are_few_and_take_no_stream_from_others(tmp_path, transport):
    with Served(tmp_path, transport, max_streams=1) as served:
        watches = [served.watch("") for _ in range(10)]
        assert [next(each).status for each in watches] == [SERVING] * 10
        with pytest.raises(grpc.RpcError, match="10 may be") as refused:
            next(served.watch(""))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with euclidesdb.Client(served.server.address) as client:
            item = euclidesdb.NewItem("a", vectors={"other": [1.0, 2.0, 3.0]})
            assert [each.id for each in client.add_stream([item])] == ["a"]
        watches[0].cancel()
        assert next(served.watch("")).status == SERVING


def test_a_dead_worker_and_the_stop_of_the_server_are_reported(tmp_path, transport):
    with Served(tmp_path, transport) as served:
        watched, whole = served.watch("models/tiny"), served.watch("")
        assert next(watched).status == next(whole).status == SERVING
        stop_workers(served.models)
        assert next(watched).status == NOT_SERVING
        assert served.status("models/tiny") == NOT_SERVING
        assert served.status("") == SERVING, "its vectors can still be searched"
        assert served.status("models/other") == SERVING

        stopping = threading.Thread(target=served.server.close)
        stopping.start()
        assert next(whole).status == NOT_SERVING
        with suppress(grpc.RpcError):  # the connection may end before its end is read
            assert not [*whole], "and the call ends"
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


def test_without_health_there_is_no_such_service(tmp_path, transport):
    (tmp_path / "models").mkdir()
    config = {"transport": transport, "health": False}
    with (
        start_server(tmp_path / "data", tmp_path / "models", server=config) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        refused = refusal(health_pb2_grpc.HealthStub(channel).Check, pb.HealthCheckRequest())
        assert refused.status is grpc.StatusCode.UNIMPLEMENTED
