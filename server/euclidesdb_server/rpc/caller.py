"""Caller: who makes calls, as far as the server can tell: an API key, or else an address."""

from __future__ import annotations

import re
from typing import Final
from weakref import WeakValueDictionary

UNKNOWN: Final = "unknown"
# gRPC's form: ipv4:127.0.0.1:50000, ipv6:%5B::1%5D:50000, unix:
_PEER: Final = re.compile(r"(?:ipv4|ipv6):(.*):\d+")


class Caller:
    """name: for messages. calls, streams, open_streams: of this caller, that are being answered.

    open_streams: of methods that require no role; they are not among `streams`.

    The counts are for the event loop's thread.
    """

    __slots__ = ("__weakref__", "calls", "name", "open_streams", "streams")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = self.streams = self.open_streams = 0


class Callers:
    """One `Caller` for each name, as long as it has calls or connections."""

    def __init__(self) -> None:
        self._by_name: WeakValueDictionary[str, Caller] = WeakValueDictionary()

    def of(self, name: str) -> Caller:
        """The caller of that name."""
        caller = self._by_name.get(name)
        if caller is None:
            caller = self._by_name[name] = Caller(name)
        return caller


def host_of_address(address: object) -> str:
    """As `host_of`, for a socket's address as the event loop gives it."""
    return str(address[0]) if isinstance(address, tuple) else "unix"


def host_of(peer: str) -> str:
    """The host of a peer in gRPC's form; of all clients by a Unix socket: "unix"."""
    found = _PEER.fullmatch(peer)
    if found is not None:
        return found[1].replace("%5B", "").replace("%5D", "").strip("[]")
    return "unix" if peer.startswith("unix") else UNKNOWN
