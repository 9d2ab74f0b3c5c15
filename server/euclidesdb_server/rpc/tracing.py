"""Tracing with OpenTelemetry: a span for each call, with spans for its parts. The extra `tracing`.

A call continues the trace that its caller names in the metadata (`traceparent`, W3C Trace Context).
Spans have names of methods, statuses, sizes and the request id, and nothing else that clients send.
They are exported in the background; what an exporter cannot take is dropped by OpenTelemetry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from euclidesdb_server.config.watching import TracingConfig
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Method

NAME: Final = "euclidesdb"
CLOSE_SECONDS: Final = 3.0
"""That spans which wait have to be exported when the server stops."""


class CallSpans:
    """A `CallObserver` that makes spans."""

    needs_begin = True

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[RpcCall, trace.Span] = {}

    def begun(self, method: Method, call: RpcCall) -> None:
        """As `CallObserver.begun`."""
        parent = self._propagator.extract({"traceparent": call.traceparent})
        service, _, name = method.path.removeprefix("/").partition("/")
        span = self._tracer.start_span(
            f"{service}/{name}",
            parent,
            trace.SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
            start_time=_epoch_ns(call.begun),
        )
        if span.is_recording():
            call.is_traced = True
            self._spans[call] = span

    def ended(self, method: Method, call: RpcCall, seconds: float) -> None:  # noqa: ARG002
        """As `CallObserver.ended`."""
        span = self._spans.pop(call, None)
        if span is None:
            return
        context = trace.set_span_in_context(span)
        for name, part in call.parts.copy().items():  # a thread may still add some
            child = self._tracer.start_span(
                name,
                context,
                attributes={"euclidesdb.count": part.count, "euclidesdb.seconds": part.seconds},
                start_time=_epoch_ns(part.begun),
            )
            child.end(_epoch_ns(part.ended))
        code, word = call.status.value
        span.set_attributes(
            {
                "rpc.grpc.status_code": code,
                "euclidesdb.request_id": call.request_id,
                "euclidesdb.request_bytes": call.request_bytes,
                "euclidesdb.reply_bytes": call.reply_bytes,
            }
        )
        if code:
            span.set_status(trace.StatusCode.ERROR, word)
        span.end(_epoch_ns(call.begun + seconds))


def otlp_spans(config: TracingConfig) -> tuple[CallSpans, Callable[[], None]]:
    """Spans that are exported by OTLP; and what exports the last ones.

    What the configuration leaves open is taken from OpenTelemetry's own variables (OTEL_...).
    """
    resource = Resource.create({"service.name": NAME}).merge(OTELResourceDetector().detect())
    sampler = ParentBasedTraceIdRatio(config.sample_ratio) if config.sample_ratio < 1 else None
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=config.endpoint or None)
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def close() -> None:
        # exports what waits; without a collector, that takes as long as the exporter tries
        closing = threading.Thread(target=provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    return CallSpans(provider.get_tracer(NAME)), close


def _epoch_ns(monotonic: float) -> int:
    return time.time_ns() - int((time.monotonic() - monotonic) * 1e9)
