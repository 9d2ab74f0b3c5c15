"""How a server can be watched: its log, its metrics and its traces."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Le


class LogFormat(StrEnum):
    """How the log is written."""

    AUTO = "auto"
    """Text on a terminal, JSON otherwise."""
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Section [metrics]: numbers of the server, for Prometheus."""

    address: str = ""
    """Where they are served by HTTP; empty: nowhere. Without a host: on the loopback address."""
    allow_anonymous: bool = False
    """Whether the address may be one that other machines can reach: everyone there reads them."""


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Section [tracing]: spans of calls, by OpenTelemetry; the extra `tracing`."""

    enabled: bool = False
    endpoint: str = ""
    """Of an OTLP collector that speaks gRPC; empty: as OTEL_EXPORTER_OTLP_ENDPOINT says."""
    sample_ratio: Annotated[float, Ge(0), Le(1)] = 1.0
    """The share of calls without a parent that are traced; 1: as OTEL_TRACES_SAMPLER says."""
