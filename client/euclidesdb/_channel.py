"""The gRPC channels of clients: where to, what is retried, which of gRPC's limits are lifted."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import grpc

from euclidesdb._checks import int32 as integer
from euclidesdb._checks import text
from euclidesdb._credentials import Credentials
from euclidesdb._proxy import Proxy, is_local, proxy_of

SERVICE: Final = "euclidesdb.v1.FeatureDatabase"
ADDRESS_VARIABLE: Final = "EUCLIDESDB_ADDRESS"
DEFAULT_ADDRESS: Final = "127.0.0.1:50000"
DEFAULT_PORT: Final = 50000
"""The server's default port."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""Of sun_path in sockaddr_un, without the null byte."""

# Targets that gRPC resolves by its own rules.
_SCHEME = re.compile("(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
# A host's name or address, and a port.
_HOST = re.compile(r"(\[[^\[\]/]+\]|[^\[\]:/\s]+)(?::([0-9]{1,5}))?")

# Calls that change nothing are retried, and those whose requests have a key, by which the server
# knows what it has applied already. A removal by filter has none: repeated, it removes what matches
# then, as it may while it runs. If the reply to any other write is lost, sending it again could
# undo what another writer did in between. gRPC does not retry a stream that has been answered:
# AddItemStream tells the caller which items are in doubt.
_RETRIED = (
    "AddItem",
    "AddItems",
    "AddVectors",
    "UpdateItem",
    "RemoveItem",
    "RemoveItems",
    "ImportItems",
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
# Pauses of 0.2, 0.6 and 1.2 s, each 20 % longer or shorter at random. With the default of 3, that
# bridges a restart of about 2 s, and still reports soon a server that is stopping or a quarantined
# model, which are UNAVAILABLE, too.
DEFAULT_RETRIES: Final = 3
MAX_RETRIES: Final = 4
"""gRPC makes at most 5 attempts, whatever its configuration says."""
_BACKOFF: Final = {"initialBackoff": "0.2s", "maxBackoff": "1.2s", "backoffMultiplier": 3}

_CHANNEL_OPTIONS: Final = (
    # gRPC does not retry a request larger than this buffer; its default of 256 KiB is less than a
    # photo.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # The server has its own limit; a second one here could only disagree with it.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server or a network that went without a word is noticed while calls wait for replies.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Reconnect within a second of a server's restart, not within gRPC's default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects, and how.

    given: as the caller wrote it. address: with a port. retries: how often a call that may be
    repeated is. proxy: that gRPC goes through.
    """

    given: str
    address: str
    retries: int
    proxy: Proxy | None
    credentials: Credentials

    @classmethod
    def of(cls, given: str | None, retries: int, credentials: Credentials) -> Self:
        """The target that a caller names, or else the environment. Raises ValueError, TypeError."""
        if given is None:
            given = os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        to = address(given)
        if not 0 <= integer("retries", retries) <= MAX_RETRIES:
            raise ValueError(f"retries must be from 0 to {MAX_RETRIES}, not {retries}")
        proxy = None if is_local(to) else proxy_of(to)
        return cls(given, to, retries, proxy, credentials)

    def options(self) -> list[tuple[str, object]]:
        """Of a channel."""
        options: list[tuple[str, object]] = [
            *_CHANNEL_OPTIONS,
            ("grpc.enable_retries", int(self.retries > 0)),
        ]
        if self.retries:
            options.append(("grpc.service_config", json.dumps(_service_config(self.retries))))
        if is_local(self.address):
            options.append(("grpc.enable_http_proxy", 0))
        return options


def blocking_channel(target: Target) -> grpc.Channel:
    """A channel that connects when it is first used."""
    return target.credentials.channel(target.address, target.options())


def awaited_channel(target: Target) -> grpc.aio.Channel:
    """A channel for the running event loop, which connects when it is first used."""
    return target.credentials.awaited_channel(target.address, target.options())


def _service_config(retries: int) -> object:
    names = [{"service": SERVICE, "method": method} for method in _RETRIED]
    policy = {
        "maxAttempts": retries + 1,
        **_BACKOFF,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"methodConfig": [{"name": names, "retryPolicy": policy}]}


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
