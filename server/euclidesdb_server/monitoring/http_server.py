"""MetricsServer: the metrics by HTTP, for Prometheus and other scrapers.

It is an HTTP server of the standard library with the application of prometheus_client. What a
client may cost is bounded: MAX_CONNECTIONS are served at a time, of which the oldest is closed for
a new one, and none lasts longer than MAX_SECONDS, however slowly it sends and reads. The metrics
are made at most once a second, whatever many scrapers ask.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from euclidesdb_server.monitoring.families import families
from euclidesdb_server.monitoring.stats import ServerStats

MAX_CONNECTIONS: Final = 16
MAX_SECONDS: Final = 10.0
"""Of one connection."""
SILENCE: Final = 5.0
"""Seconds that a client may send or take nothing."""
FRESH_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.5
PATHS: Final = ("/", "/metrics")

log = logging.getLogger(__name__)


class _Collector(Collector):
    """The metrics of a server; kept for a moment, and made by one thread at a time."""

    def __init__(self, read: Callable[[], ServerStats]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._metrics: list[Metric] = []
        self._made_at = -FRESH_SECONDS

    def collect(self) -> Iterable[Metric]:
        """All families."""
        with self._lock:
            if time.monotonic() - self._made_at >= FRESH_SECONDS:
                self._metrics = [*families(self._read())]
                self._made_at = time.monotonic()
            return self._metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering it reads nothing."""
        return []


def registry_of(read: Callable[[], ServerStats]) -> CollectorRegistry:
    """The metrics of a server, and those of its process (processor time, open files)."""
    registry = CollectorRegistry()
    registry.register(_Collector(read))
    ProcessCollector(registry=registry)
    return registry


class MetricsServer:
    """Serves from construction until `close`, which is idempotent. address: with the actual port.

    Raises OSError if it cannot listen.
    """

    def __init__(self, host: str, port: int, read: Callable[[], ServerStats]) -> None:
        self._server = _Server(host, port, _application(make_wsgi_app(registry_of(read))))
        at = self._server.socket.getsockname()
        self.address = f"[{at[0]}]:{at[1]}" if ":" in at[0] else f"{at[0]}:{at[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(SWEEP_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    timeout = SILENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Scrapers come every few seconds, and hostile ones more often: not at a level in use."""
        log.debug("%r", format % args)

    def get_stderr(self) -> Any:
        """Nowhere: all that wsgiref reports is that a client has left or is slow."""
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, application: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}  # since when; the oldest first
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """As HTTPServer, without asking for the name of the host, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "euclidesdb", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; the oldest one makes room."""
        with self._lock:
            self._open[request] = time.monotonic()
            crowded = [*self._open][:-MAX_CONNECTIONS]
        for each in crowded:
            self._end(each)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection has been served."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that last too long; called twice a second."""
        limit = time.monotonic() - MAX_SECONDS
        with self._lock:
            late = [request for request, since in self._open.items() if since < limit]
        for each in late:
            self._end(each)

    def server_close(self) -> None:
        """Close the port, and end all connections."""
        super().server_close()
        with self._lock:
            rest = [*self._open]
        for each in rest:
            self._end(each)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that has left or was ended; nothing that an operator can change."""
        log.debug("a request for metrics has failed", exc_info=True)

    def _end(self, request: socket.socket) -> None:
        """Wake the thread that serves a connection; it closes the socket."""
        with self._lock:
            self._open.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


def _application(metrics: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """The metrics at PATHS, and nothing elsewhere."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        refusal, text = None, b"the metrics are at /metrics\n"
        if environ["PATH_INFO"] not in PATHS:
            refusal = HTTPStatus.NOT_FOUND
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            refusal = HTTPStatus.METHOD_NOT_ALLOWED
        if refusal is None:
            try:
                return iter(metrics(environ, start_response))
            except Exception:  # the outermost frame of our code in this request
                log.exception("the metrics could not be read")
                refusal, text = HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error\n"
        start_response(f"{refusal.value} {refusal.phrase}", [("Content-Type", "text/plain")])
        return iter([text])

    return application
