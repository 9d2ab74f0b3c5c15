"""Http2Listener: gRPC by nghttp2, on the event loop of the server itself.

A call costs less than half of the processor time that grpcio takes, and what a client sends and
reads is counted and limited here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.monitoring.stats import Traffic
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.call_measures import CallMeasures, CallObserver
from euclidesdb_server.rpc.event_loop import run
from euclidesdb_server.rpc.http2_server import Http2Calls
from euclidesdb_server.rpc.listening import (
    UNIX,
    WHERE,
    cannot_listen,
    check_address,
    listen_address,
)
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.rpc.nghttp2 import check_available

BACKLOG: Final = 4096
_UNIX: Final = socket.AF_UNIX

log = logging.getLogger(__name__)


class Http2Listener:
    """As `GrpcioListener`."""

    def __init__(
        self,
        methods: Iterable[Method],
        config: ServerConfig,
        access: Access | None = None,
        certificates: Certificates | None = None,
        *,
        observers: Sequence[CallObserver] = (),
        where: str = WHERE,
    ) -> None:
        """Start listening. The others: as in `listen`.

        Raises Nghttp2Unavailable, and ConfigError if it cannot listen at the address.
        """
        check_available()
        self._grace = config.shutdown_grace
        address = listen_address(config.address, where)
        check_address(address, where)  # again: models have been loaded since the start
        with ExitStack() as opened:
            methods = [*methods]
            self.measures = CallMeasures(methods, observers)
            answerer = Answerer(config, self.measures)
            opened.callback(answerer.close)
            access = access or Access()
            access.on_change(answerer.open_streams.recheck_soon)
            self._calls = Http2Calls(methods, answerer, config, access, certificates)
            try:
                sockets = [opened.enter_context(each) for each in _sockets(address)]
                if address.startswith(UNIX):
                    opened.callback(Path(address.removeprefix(UNIX)).unlink, missing_ok=True)
                else:
                    port = sockets[0].getsockname()[1]
                    address = f"{address.rpartition(':')[0]}:{port}"
                self._servers = run(self._accept(sockets))
            except OSError as error:
                raise cannot_listen(error, address, where) from error
            self.address = address
            self._opened = opened.pop_all()

    def traffic(self) -> Traffic:
        """As `GrpcioListener.traffic`."""
        return self._calls.answerer.traffic(self._calls.connections)

    def close(self) -> None:
        """As `GrpcioListener.close`. Idempotent."""
        log.info("stopping: running calls have %g s to finish", self._grace)
        run(self._stop())
        self._opened.close()

    async def _accept(self, sockets: Iterable[socket.socket]) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        servers = []
        for each in sockets:
            serve = loop.create_unix_server if each.family == _UNIX else loop.create_server
            servers.append(await serve(self._calls.connection, sock=each, backlog=BACKLOG))
        return servers

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        await self._calls.stop(self._grace)


def _sockets(address: str) -> Iterator[socket.socket]:
    """A socket at each address of the host, all with one port, which the kernel chooses if it is 0.

    Raises OSError if there is none, or the port is in use.
    """
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        Path(path).unlink(missing_ok=True)  # left behind: `check_address` has asked
        yield _bound(_UNIX, path)
        return
    host, _, port = address.rpartition(":")
    failure, none = OSError("the host has no address"), True
    found = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, _, _, _, at in dict.fromkeys(found):
        try:
            made = _bound(family, (at[0], int(port), *at[2:]), is_ipv4_too=host == "[::]")
        except OSError as error:  # one address is enough
            if error.errno == errno.EADDRINUSE:
                raise
            failure = error
        else:
            port, none = str(made.getsockname()[1]), False
            yield made
    if none:
        raise failure


def _bound(family: int, at: Any, *, is_ipv4_too: bool = False) -> socket.socket:
    made = socket.socket(family)
    try:
        if family != _UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_ipv4_too)
        made.bind(at)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
