"""TLS between the sockets of clients and their HTTP/2 connections.

What is written goes to the socket's own buffer at once, encrypted, so a slow reader is noticed and
limited as without TLS. Handshakes are limited in number and time. Their steps run in a thread: a
signature with RSA takes a millisecond, in which the event loop would serve no other call.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, cast

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.rpc.caller import host_of_address
from euclidesdb_server.rpc.http2_connection import Connection

MAX_HANDSHAKES: Final = 1000
"""Connections that have not finished theirs, also those that have sent nothing: with one more, the
oldest is closed, as those of clients that mean it take milliseconds."""
HANDSHAKE_SECONDS: Final = 10.0
MAX_HANDSHAKE_BYTES: Final = 256 << 10
"""What a client may send before the server sees its handshake finished: its certificates, and with
them its first calls, of which HTTP/2 permits 64 KiB before the server answers."""
HANDSHAKE_THREADS: Final = 2
READ_BYTES: Final = 256 << 10
LOG_INTERVAL: Final = 60.0
_HANDSHAKE_RECORD: Final = 22  # the first byte that a client of TLS sends

log = logging.getLogger(__name__)


class Handshakes:
    """Those of one server that are not finished. For the event loop's thread."""

    def __init__(self, certificates: Certificates) -> None:
        self.pool = ThreadPoolExecutor(HANDSHAKE_THREADS, thread_name_prefix="tls")
        self._certificates = certificates
        self._open: dict[TlsConnection, asyncio.TimerHandle] = {}
        self._logged_at = -LOG_INTERVAL

    def context(self) -> ssl.SSLContext:
        """That of the server's present certificate."""
        return self._certificates.identity.context

    def begin(self, connection: TlsConnection) -> None:
        """A client has connected."""
        if len(self._open) >= MAX_HANDSHAKES:
            next(iter(self._open)).abort()
        loop = asyncio.get_running_loop()
        self._open[connection] = loop.call_later(HANDSHAKE_SECONDS, connection.abort)

    def end(self, connection: TlsConnection) -> None:
        """Its handshake is done, or it has left."""
        timer = self._open.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def failed(self, host: str, reason: str) -> None:
        """Log one, at most once a minute: anyone can make them fail."""
        if time.monotonic() - self._logged_at > LOG_INTERVAL:
            self._logged_at = time.monotonic()
            log.info("a TLS handshake with a client at %s failed: %s", host, reason)

    def close(self) -> None:
        """End all of them."""
        for connection in [*self._open]:
            connection.abort()
        self.pool.shutdown(wait=False)


class TlsConnection(asyncio.Protocol):
    """The protocol of one socket; `inner` gets what arrives, once the handshake is done."""

    def __init__(self, inner: Connection, handshakes: Handshakes) -> None:
        self._inner = inner
        self._handshakes = handshakes
        self._socket: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unread = b""
        self._received = 0
        self._is_stepping = False
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._socket = cast("asyncio.Transport", transport)
        if self._inner.is_turned_away():
            self._socket.abort()
            return
        self._handshakes.begin(self)

    def connection_lost(self, error: Exception | None) -> None:
        """End what is on the connection."""
        self._handshakes.end(self)
        self._socket = None
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Decrypt what has arrived, or go on with the handshake."""
        if self._is_open:
            self._incoming.write(data)
            self._read()
            return
        if not self._received and data[0] != _HANDSHAKE_RECORD:
            self._fail("it does not speak TLS")
            return
        self._received += len(data)
        if self._received > MAX_HANDSHAKE_BYTES:
            self._fail(f"it sent more than {MAX_HANDSHAKE_BYTES} bytes")
            return
        self._unread += data
        if not self._is_stepping:
            self._step()

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        if self._is_open:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more."""
        if self._is_open:
            self._inner.resume_writing()

    def abort(self) -> None:
        """Close the socket at once."""
        self._handshakes.end(self)
        if self._socket is not None:
            self._socket.abort()

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._tls is None or self._socket is None:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            log.debug("a connection is closed: %s", error)
            self.abort()
            return
        self._flush()

    def close(self) -> None:
        """Say that nothing more comes, and close the socket once all has been sent."""
        if self._socket is None or self._socket.is_closing():
            return
        if self._tls is not None and not self._is_stepping:
            with suppress(ssl.SSLError):  # the client's own end is not waited for
                self._tls.unwrap()
            self._flush()
        self._socket.close()

    def _step(self) -> None:
        """Let a thread go on with the handshake, which nothing else touches meanwhile."""
        if self._tls is None:
            context = self._handshakes.context()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(self._unread)
        self._unread = b""
        self._is_stepping = True
        loop = asyncio.get_running_loop()
        try:
            step = loop.run_in_executor(self._handshakes.pool, _do_handshake, self._tls)
        except RuntimeError:  # the server stops
            self.abort()
            return
        step.add_done_callback(self._stepped)

    def _stepped(self, step: asyncio.Future[bool]) -> None:
        self._is_stepping = False
        error = None if step.cancelled() else step.exception()
        if step.cancelled() or self._socket is None:
            return
        self._flush()
        if error is not None:
            self._fail(str(error))
        elif step.result():
            self._opened()
        elif self._unread:
            self._step()

    def _opened(self) -> None:
        if self._tls is None or self._socket is None:
            return
        self._handshakes.end(self)
        if self._tls.selected_alpn_protocol() != "h2":
            self._fail("it does not offer HTTP/2 (h2) by ALPN")
            return
        self._is_open = True
        self._inner.connection_made(_Encrypted(self, self._socket))
        self._incoming.write(self._unread)
        self._unread = b""
        self._read()

    def _read(self) -> None:
        """Hand over what has arrived of the client's data."""
        pieces: list[bytes] = []
        is_over = self._take(pieces)
        self._flush()
        if pieces:
            self._inner.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if is_over:
            self.close()

    def _take(self, pieces: list[bytes]) -> bool:
        """Decrypt all that is there; whether nothing more will come."""
        if self._tls is None:
            return True
        try:
            while piece := self._tls.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            log.debug("a connection is closed: %s", error)
        return True

    def _flush(self) -> None:
        if self._outgoing.pending and self._socket is not None:
            self._socket.write(self._outgoing.read())

    def _fail(self, reason: str) -> None:
        """Close the socket; an alert for the client has been written."""
        self._handshakes.end(self)
        if self._socket is not None:
            peer = self._socket.get_extra_info("peername")
            self._handshakes.failed(host_of_address(peer), reason)
            self._socket.close()


class _Encrypted(asyncio.Transport):
    """The transport that an HTTP/2 connection writes to."""

    def __init__(self, connection: TlsConnection, socket: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._socket = socket
        self.write = connection.write  # type: ignore[assignment,method-assign]
        self.close = connection.close  # type: ignore[method-assign]
        self.abort = connection.abort  # type: ignore[method-assign]
        self.is_closing = socket.is_closing  # type: ignore[method-assign]
        self.get_write_buffer_size = socket.get_write_buffer_size  # type: ignore[method-assign]
        self.set_write_buffer_limits = socket.set_write_buffer_limits  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the socket's."""
        return self._socket.get_extra_info(name, default)


def _do_handshake(tls: ssl.SSLObject) -> bool:
    """Go on with a handshake, as far as what has arrived permits; whether it is done."""
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
