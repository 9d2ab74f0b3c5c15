"""Real servers in this process, each on a free port."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from euclidesdb_server.app import Server
from euclidesdb_server.config.access import AuthConfig, TlsConfig
from euclidesdb_server.config.server import (
    Config,
    DatabaseConfig,
    IndexConfig,
    ModelsConfig,
    ServerConfig,
)
from euclidesdb_server.config.watching import MetricsConfig, TracingConfig
from euclidesdb_server.rpc.call_measures import CallObserver


def start_server(
    data: Path,
    models: Path,
    *,
    engine: str = "exact",
    engines: Mapping[str, Mapping[str, str]] | None = None,
    server: Mapping[str, Any] | None = None,
    models_config: Mapping[str, Any] | None = None,
    database: Mapping[str, Any] | None = None,
    index: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    tracing: Mapping[str, Any] | None = None,
    observers: Sequence[CallObserver] = (),
    auth: Mapping[str, Any] | None = None,
    tls: Mapping[str, Any] | None = None,
    strict: bool = False,
    stop_wanted: threading.Event | None = None,
) -> Server:
    """A server of the models in `models` with its data in `data`; keywords are config keys.

    stop_wanted: what a permitted `Shutdown` call sets.
    """
    config = Config(
        models=ModelsConfig(dir_path=models, worker_threads=1, **(models_config or {})),
        database=DatabaseConfig(db_path=data, **(database or {})),
        server=ServerConfig(
            **{
                "address": "127.0.0.1:0",
                "search_engine": engine,
                **(server or {}),
            }
        ),
        index=IndexConfig(**(index or {})),
        metrics=MetricsConfig(**(metrics or {})),
        tracing=TracingConfig(**(tracing or {})),
        auth=AuthConfig(**(auth or {})),
        tls=TlsConfig(**(tls or {})),
        engines=engines or {},
    )
    stop_wanted = stop_wanted or threading.Event()
    return Server(config, stop_wanted, strict=strict, observers=observers)
