"""EnvoyListener: gRPC by an Envoy in front of the server.

Envoy speaks HTTP/2 with clients, without Python's global lock, and hands each call to the server's
event loop over a Unix socket: there it costs a tenth of the processor time that grpcio takes.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.envoy_calls import EnvoyCalls
from euclidesdb_server.rpc.envoy_config import configuration, pipe, tcp
from euclidesdb_server.rpc.envoy_process import EnvoyProcess, EnvoyUnavailable
from euclidesdb_server.rpc.event_loop import event_loop, run
from euclidesdb_server.rpc.listening import UNIX, WHERE, check_address, listen_address
from euclidesdb_server.rpc.methods import Method

BACKLOG: Final = 4096

log = logging.getLogger(__name__)


class EnvoyListener:
    """As `GrpcioListener`."""

    def __init__(
        self,
        program: Path,
        methods: Iterable[Method],
        config: ServerConfig,
        *,
        where: str = WHERE,
    ) -> None:
        """Start listening. program: Envoy. where: as in `RpcServer`.

        Raises EnvoyUnavailable, and ConfigError if it cannot listen at the address.
        """
        self._grace = config.shutdown_grace
        address = listen_address(config.address, where)
        check_address(address, where)  # again: models have been loaded since the start
        with ExitStack() as opened:
            answerer = Answerer(config)
            opened.callback(answerer.close)
            self._calls = EnvoyCalls(methods, answerer, config)
            try:
                folder = Path(tempfile.mkdtemp(prefix="euclidesdb-"))  # for this user only
                opened.callback(shutil.rmtree, folder, ignore_errors=True)
                upstream, admin = folder / "calls", folder / "admin"
                server = run(_serve(self._calls, upstream))
            except OSError as error:
                raise EnvoyUnavailable(
                    "[server] transport: no sockets can be made in the folder for temporary files "
                    f"({error}): set TMPDIR, or choose grpcio"
                ) from error
            opened.callback(event_loop().call_soon_threadsafe, server.close)
            if address.startswith(UNIX):
                path = Path(address.removeprefix(UNIX))
                opened.callback(path.unlink, missing_ok=True)
                addresses = [pipe(str(path))]
            else:
                host, _, port = address.rpartition(":")
                held = [opened.enter_context(at) for at in _bound(host.strip("[]"), int(port))]
                if not held:
                    raise ConfigError(f"{where}: cannot listen on {address!r}")
                addresses = [tcp(*at.getsockname()[:2]) for at in held]
                address = f"{host}:{held[0].getsockname()[1]}"
            self._process = EnvoyProcess(
                program,
                configuration(addresses, upstream=str(upstream), admin=str(admin)),
                admin,
                where=where,
            )
            opened.callback(self._process.close)
            self.address = address
            self._opened = opened.pop_all()

    def close(self) -> None:
        """As `GrpcioListener.close`. Idempotent."""
        log.info("stopping: running calls have %g s to finish", self._grace)
        self._process.stop_listening()
        run(self._calls.stop(self._grace))
        self._process.flush()
        self._opened.close()


async def _serve(calls: EnvoyCalls, path: Path) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(calls.connection, str(path), backlog=BACKLOG)


def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at each address of the host, all with one port, which the kernel chooses if it is 0.

    They do not listen: so Envoy can do so at the same addresses, and no other program can take the
    port meanwhile or while Envoy is started again.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, at in dict.fromkeys(found):
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
            made.bind((at[0], port, *at[2:]))
        except OSError:  # one address is enough; what is in use has been reported
            made.close()
            continue
        port = made.getsockname()[1]
        yield made
