"""Envoy's configuration: HTTP/2 on the server's address, HTTP/1.1 to the server's own socket.

Every limit on what a call may be is the server's. Envoy only bounds what it holds of each
connection: a sender is stopped until the server has read, a reply is kept until the client reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from euclidesdb_server.rpc.grpcio import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS

UNLIMITED: Final = 1 << 20
"""Calls, and connections to the server: its own limits are far lower."""
BUFFER_BYTES: Final = 1 << 20
"""What Envoy holds of a connection in each direction."""
WINDOW_BYTES: Final = 1 << 20
IDLE_TIMEOUT: Final = "10s"
"""Connections to the server that no call needs are closed: each is an open file of both."""
STATS_PREFIX: Final = "grpc"

_TYPES: Final = "type.googleapis.com/envoy.extensions."


def configuration(
    addresses: Sequence[Mapping[str, Any]], *, upstream: str, admin: str
) -> dict[str, Any]:
    """What Envoy is started with, as JSON values.

    addresses: where it listens, as of `tcp` or `pipe`. upstream: the socket of the
    server. admin: that of Envoy's own interface.
    """
    first, *more = addresses
    listener = {
        "name": STATS_PREFIX,
        "address": first,
        "additional_addresses": [{"address": address} for address in more],
        # otherwise two servers could share a port, and its calls
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [{"filters": [_filter("network.http_connection_manager", _http())]}],
    }
    return {
        "admin": {"address": pipe(admin)},
        "static_resources": {"listeners": [listener], "clusters": [_cluster(upstream)]},
    }


def pipe(path: str) -> dict[str, Any]:
    """A Unix socket."""
    return {"pipe": {"path": path}}


def tcp(host: str, port: int) -> dict[str, Any]:
    """An IP address and a port."""
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def _filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.{name}", "typed_config": config}


def _http() -> dict[str, Any]:
    route = {"cluster": "server", "timeout": "0s"}
    router = {
        "@type": f"{_TYPES}filters.http.router.v3.Router",
        "dynamic_stats": False,
        "suppress_envoy_headers": True,
    }
    return {
        "@type": (f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": STATS_PREFIX,
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        # the server ends what takes too long; a connection may be idle for any time
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "http2_protocol_options": {
            "max_concurrent_streams": UNLIMITED,
            "initial_stream_window_size": WINDOW_BYTES,
            "initial_connection_window_size": 4 * WINDOW_BYTES,
            "connection_keepalive": {
                "interval": f"{KEEPALIVE_MS / 1000:g}s",
                "timeout": f"{KEEPALIVE_TIMEOUT_MS / 1000:g}s",
            },
        },
        "route_config": {
            # in trailing metadata, where the headers of a call without a reply arrive
            "response_headers_to_remove": ["content-length"],
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": route}],
                }
            ],
        },
        "http_filters": [_filter("http.router", router)],
    }


def _cluster(upstream: str) -> dict[str, Any]:
    limits = ("max_connections", "max_pending_requests", "max_requests")
    options = f"{_TYPES}upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": "server",
        "type": "STATIC",
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, UNLIMITED)]},
        "typed_extension_protocol_options": {
            options.removeprefix("type.googleapis.com/"): {
                "@type": options,
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
            }
        },
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe(upstream)}}]}],
        },
    }
