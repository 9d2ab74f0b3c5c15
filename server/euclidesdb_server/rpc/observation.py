"""What operators see of a server besides its log, as they want it: metrics by HTTP, and traces."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from euclidesdb_server.config.server import Config
from euclidesdb_server.errors import StartupError
from euclidesdb_server.monitoring.http_server import MetricsServer
from euclidesdb_server.monitoring.stats import ServerStats
from euclidesdb_server.rpc.call_measures import CallObserver
from euclidesdb_server.rpc.listening import cannot_listen, metrics_address

log = logging.getLogger(__name__)


def serve_metrics(
    config: Config, stats: Callable[[], ServerStats], opened: ExitStack
) -> str | None:
    """Serve metrics, if they are wanted, until `opened` is closed. Raises ConfigError."""
    if not config.metrics.address:
        return None
    where = config.where("metrics", "address")
    host, port = metrics_address(config.metrics.address, where)
    try:
        server = MetricsServer(host, port, stats)
    except OSError as error:
        raise cannot_listen(error, f"{host}:{port}", where) from error
    opened.callback(server.close)
    log.info("metrics are served on http://%s/metrics", server.address)
    return server.address


def tracing(config: Config, opened: ExitStack) -> list[CallObserver]:
    """What makes spans, if that is wanted, until `opened` is closed. Raises StartupError."""
    if not config.tracing.enabled:
        return []
    try:
        from euclidesdb_server.rpc.tracing import otlp_spans  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        where = config.where("tracing", "enabled")
        raise StartupError(
            f"{where} = true needs {error.name!r}: pip install 'euclidesdb[tracing]'"
        ) from error
    spans, close = otlp_spans(config.tracing)
    opened.callback(close)
    return [spans]
