"""The HTTP proxy that gRPC would use for a target.

gRPC sends every connection through the proxy that the environment names, also one to this machine.
The client does without it there, and names it in the errors of connections through it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# In gRPC's order: the first that is set counts, even if it is empty. It reads no upper-case names.
_PROXY_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTION_VARIABLES: Final = ("no_grpc_proxy", "no_proxy")

_LOCAL_SCHEME: Final = re.compile("(unix|unix-abstract|vsock):")
_SCHEME: Final = re.compile("^(?:dns|ipv4|ipv6|xds):(?://[^/]*/)?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """url: without a user and a password. variable: the environment variable that names it."""

    url: str
    variable: str

    def __str__(self) -> str:
        return f"through the proxy {self.url!r} of the environment variable {self.variable}"


def is_local(address: str) -> bool:
    """Whether a gRPC target is on this machine, as far as its name tells."""
    return bool(_LOCAL_SCHEME.match(address)) or all(map(_is_loopback, _hosts(address)))


def proxy_of(address: str) -> Proxy | None:
    """The proxy through which gRPC connects to a target that is not local."""
    variable = _first_set(_PROXY_VARIABLES)
    try:
        url = urlsplit(os.environ[variable] if variable else "")
        shown = f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")
    except ValueError:  # not a URL
        return None
    if url.scheme != "http" or not url.hostname:  # gRPC ignores any other
        return None
    exceptions = os.environ.get(_first_set(_EXCEPTION_VARIABLES), "").split(",")
    excepted = [entry.strip() for entry in exceptions if entry.strip()]
    if any(_matches(host, entry) for host in _hosts(address) for entry in excepted):
        return None
    return Proxy(shown, variable)


def _first_set(variables: tuple[str, ...]) -> str:
    return next((variable for variable in variables if variable in os.environ), "")


def _hosts(address: str) -> list[str]:
    """The hosts of a target: `host:port`, or one with a scheme, `ipv4:host:port,host:port`."""
    hosts = _SCHEME.sub("", address, count=1).split(",")
    return [re.sub(":[0-9]+$", "", host).strip("[]") for host in hosts]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # a connection to 0.0.0.0 or :: goes to this machine
    return address.is_loopback or address.is_unspecified


def _matches(host: str, entry: str) -> bool:
    """The rule of gRPC for an entry of no_proxy: the end of a name, or a network."""
    if host.lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
