"""Http2Calls: the HTTP/2 connections of one server, and their end when it stops."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable
from typing import Final

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.connection_limit import ConnectionLimit
from euclidesdb_server.rpc.http2_calls import ConnectionCalls
from euclidesdb_server.rpc.http2_connection import Connection
from euclidesdb_server.rpc.http2_shared import Shared
from euclidesdb_server.rpc.http2_turns import Held, ReadInTurns
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.rpc.tls import Handshakes, TlsConnection

STOP_INTERVAL: Final = 0.005
"""Seconds between looks whether all calls have been answered, when the server stops."""


class Http2Calls(Shared):
    """The calls of one server. All but the construction happens on the event loop."""

    def __init__(
        self,
        methods: Iterable[Method],
        answerer: Answerer,
        config: ServerConfig,
        access: Access,
        certificates: Certificates | None,
    ) -> None:
        """certificates: None: connections are not encrypted."""
        super().__init__(methods, answerer, config, access)
        self._handshakes = None if certificates is None else Handshakes(certificates)
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._held = Held()
        self._limit = ConnectionLimit(config.max_connections)

    @property
    def connections(self) -> int:
        """How many are open; those that are refused do not count."""
        return len(self._connections)

    def connection(self) -> ReadInTurns:
        """The protocol of one more connection."""
        refusal = self._limit.refusal(len(self._connections))
        group = self._refused if refusal else self._connections
        connection = Connection(
            functools.partial(ConnectionCalls, self), group, self.message_timeout, refusal
        )
        if self._handshakes is None:
            return ReadInTurns(connection, self._held)
        return ReadInTurns(TlsConnection(connection, self._handshakes), self._held)

    async def stop(self, grace: float) -> None:
        """Refuse new calls; return when the running ones have been answered, and the replies read.

        What still runs `grace` seconds later is refused, too, and what is unread is lost.
        """
        self.stopping = True
        if self._handshakes is not None:
            self._handshakes.close()
        for connection in [*self._connections, *self._refused]:
            connection.go_away()
        until = time.monotonic() + grace
        while time.monotonic() < until and (
            self.running or any(each.is_sending() for each in self._connections)
        ):
            await asyncio.sleep(STOP_INTERVAL)
        connections = [*self._connections, *self._refused]  # and those that were just accepted
        ended = [*self.running]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in connections))
