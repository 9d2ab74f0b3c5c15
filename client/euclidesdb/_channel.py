"""The gRPC channel of a `Client`: what is retried, which of gRPC's limits are lifted, the proxy."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

import grpc

from euclidesdb._checks import text
from euclidesdb._credentials import Credentials
from euclidesdb._proxy import Proxy, is_local, proxy_of

DEFAULT_PORT: Final = 50000
"""The server's default port."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""Of sun_path in sockaddr_un, without the null byte."""

# Targets that gRPC resolves by its own rules.
_SCHEME = re.compile("(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
# A host's name or address, and a port.
_HOST = re.compile(r"(\[[^\[\]/]+\]|[^\[\]:/\s]+)(?::([0-9]{1,5}))?")

# Only calls that change nothing are retried. If the reply to an add or a remove is lost, it is
# unknown whether it was applied; sending it again could undo what another writer did in between.
_RETRIED = (
    "GetItem",
    "GetItems",
    "CountItems",
    "ListItems",
    "SampleItems",
    "SummarizeItems",
    "FindSimilar",
    "FindSimilarBatch",
    "ListModels",
    "Stats",
)
# At most 4 attempts within about 2 s (pauses of 0.2, 0.6 and 1.2 s). That bridges a restart, and
# still reports soon a server that is stopping or a quarantined model, which are UNAVAILABLE, too.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "euclidesdb.v1.FeatureDatabase", "method": method}
                for method in _RETRIED
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "1.2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # gRPC does not retry a request larger than this buffer; its default of 256 KiB is less than a
    # photo.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # The server has its own limit; a second one here could only disagree with it.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Reconnect within a second of a server's restart, not within gRPC's default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def open_channel(target: str, credentials: Credentials) -> tuple[grpc.Channel, Proxy | None]:
    """A channel to `target` that connects when first used, and the proxy that it goes through.

    Raises ValueError, TypeError.
    """
    to = address(target)
    if is_local(to):
        options = (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0))
        return credentials.channel(to, options), None
    return credentials.channel(to, _CHANNEL_OPTIONS), proxy_of(to)


def address(target: str) -> str:
    """`target` with a port; gRPC's own default is 443. Raises ValueError, TypeError."""
    scheme = _SCHEME.match(text("target", target))
    if scheme is not None:
        return _resolved_by_grpc(target, scheme[1])
    found = _HOST.fullmatch(target)
    port = int(found[2] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:  # gRPC would take it modulo 65536
        raise ValueError(
            "target must be 'host', 'host:port', '[::1]:port' or 'unix:path', with a port from 1 "
            f"to 65535, not {target!r}"
        )
    return f"{found[1]}:{port}"


def _resolved_by_grpc(target: str, scheme: str) -> str:
    """A target with a scheme; the path of a Unix socket without `~`. Raises ValueError."""
    path = target.removeprefix(f"{scheme}:")
    if not path.strip("/"):
        raise ValueError(
            f"target must name {'a socket' if 'unix' in scheme else 'a host'} after "
            f"{scheme + ':'!r}, not {target!r}"
        )
    if scheme != "unix":
        return target
    if path.startswith("//") and not path.startswith("///"):
        raise ValueError(f"target must be unix:path or unix:///absolute/path, not {target!r}")
    if path.startswith("~"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError as error:
            raise ValueError(
                f"target {target!r}: there is no such home folder: set HOME"
            ) from error
    size = len(os.fsencode(path.removeprefix("//")))
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"target must have a path of at most {MAX_SOCKET_PATH_BYTES} bytes, not {size}: "
            f"{target!r}"
        )
    return f"unix:{path}"
