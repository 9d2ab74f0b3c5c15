"""Spans of real calls to a real server, in memory and by OTLP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.config.server import Transport
from euclidesdb_server.errors import StartupError
from tests.rpc.test_transports import needs_nghttp2
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

pytest.importorskip("opentelemetry.sdk", reason="the extra tracing is not installed")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from euclidesdb_server.rpc.tracing import CallSpans

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SERVICE = "euclidesdb.v1.FeatureDatabase"


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def traced(request, tmp_path_factory):
    """A client, a channel, and the spans so far."""
    folder = tmp_path_factory.mktemp("traced")
    save_model(folder / "models", "tiny", max_wait_ms=0)
    save_vector_space(folder / "models", "given")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        start_server(
            folder / "data",
            folder / "models",
            server={"transport": Transport(request.param)},
            observers=[CallSpans(provider.get_tracer("test"))],
        ) as server,
        euclidesdb.Client(server.address) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        client.add("a", vectors={"given": np.ones(3, np.float32)})
        yield client, database_pb2_grpc.FeatureDatabaseStub(channel), exporter


def family(exporter, method):
    """The span of the only call to a method, and those of its parts by name."""
    root = f"{SERVICE}/{method}"
    wait_for(lambda: any(span.name == root for span in exporter.get_finished_spans()), root)
    spans = exporter.get_finished_spans()
    (parent,) = [span for span in spans if span.name == root]
    children = [
        span for span in spans if span.parent and span.parent.span_id == parent.context.span_id
    ]
    assert all(parent.start_time <= span.start_time <= span.end_time for span in children)
    exporter.clear()
    return parent, {span.name: span for span in children}


def test_an_add_has_spans_of_its_parts(traced):
    client, _, exporter = traced
    exporter.clear()
    client.add("image", image=encoded(noise(0)), models=["tiny"])
    add, parts = family(exporter, "AddItem")
    assert parts.keys() == {"decode", "queue", "inference", "store"}
    assert parts["queue"].end_time <= parts["inference"].end_time <= parts["store"].end_time
    assert add.attributes["rpc.grpc.status_code"] == 0
    assert add.attributes["rpc.method"] == "AddItem"
    assert add.attributes["euclidesdb.request_bytes"] > 0


def test_a_quick_search_continues_the_trace_of_its_caller(traced):
    _, stub, exporter = traced
    exporter.clear()
    request = pb.FindSimilarRequest(query=pb.Query(id="a"), models=["given"], top_k=3)
    stub.FindSimilar(
        request, timeout=100, metadata=(("traceparent", PARENT), ("x-request-id", "r1"))
    )
    search, parts = family(exporter, "FindSimilar")
    assert f"{search.context.trace_id:032x}" == TRACE
    assert parts.keys() == {"decode", "search"}
    assert search.attributes["euclidesdb.request_id"] == "r1"


@pytest.mark.parametrize("parent", ["", "00-zz-1-01", "x" * 5000, f"ff-{TRACE}-00-99"])
def test_what_is_not_a_trace_begins_a_new_one_and_a_failure_has_its_status(traced, parent):
    _, stub, exporter = traced
    exporter.clear()
    with pytest.raises(grpc.RpcError):
        stub.GetItem(
            pb.GetItemRequest(id="secret-id"), timeout=100, metadata=(("traceparent", parent),)
        )
    get, _ = family(exporter, "GetItem")
    assert f"{get.context.trace_id:032x}" != TRACE
    assert get.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert not get.status.is_ok
    assert "secret-id" not in get.to_json()


def test_streams_have_spans(traced):
    _, stub, exporter = traced
    exporter.clear()
    assert [*stub.ExportItems(pb.ExportItemsRequest(), timeout=100)]
    export, _ = family(exporter, "ExportItems")
    assert export.attributes["rpc.grpc.status_code"] == 0


def test_calls_that_are_not_sampled_leave_nothing(tmp_path):
    (tmp_path / "models").mkdir()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = CallSpans(provider.get_tracer("test"))
    with (
        start_server(tmp_path / "data", tmp_path / "models", observers=[spans]) as server,
        euclidesdb.Client(server.address) as client,
    ):
        client.models()
    assert not exporter.get_finished_spans()
    assert not spans._spans


@pytest.fixture
def collector():
    """The address of an OTLP collector, and what it has received."""
    received: list[otlp.ExportTraceServiceRequest] = []

    def export(request, _):
        received.append(request)
        return otlp.ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export,
        otlp.ExportTraceServiceRequest.FromString,
        otlp.ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, {"Export": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", received
    server.stop(0).wait()


@pytest.mark.parametrize("by_variable", [False, True])
def test_spans_are_exported_by_otlp_at_the_latest_when_the_server_stops(
    collector, tmp_path, monkeypatch, by_variable
):
    endpoint, received = collector
    (tmp_path / "models").mkdir()
    tracing = {"enabled": True}
    if by_variable:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    else:
        tracing["endpoint"] = endpoint
    with (
        start_server(tmp_path / "data", tmp_path / "models", tracing=tracing) as server,
        euclidesdb.Client(server.address) as client,
    ):
        client.models()
    resources = [each for request in received for each in request.resource_spans]
    names = {span.name for of in resources for each in of.scope_spans for span in each.spans}
    assert f"{SERVICE}/ListModels" in names
    (service,) = {
        each.value.string_value
        for of in resources
        for each in of.resource.attributes
        if each.key == "service.name"
    }
    assert service == ("mine" if by_variable else "euclidesdb")


def test_without_tracing_no_thread_of_it_runs(tmp_path):
    (tmp_path / "models").mkdir()
    with start_server(tmp_path / "data", tmp_path / "models"):
        assert not [each for each in threading.enumerate() if "Span" in each.name]


def test_a_server_without_the_extra_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "euclidesdb_server.rpc.tracing", None)
    with pytest.raises(StartupError, match=r"pip install 'euclidesdb\[tracing\]'"):
        start_server(tmp_path / "data", tmp_path / "models", tracing={"enabled": True})
