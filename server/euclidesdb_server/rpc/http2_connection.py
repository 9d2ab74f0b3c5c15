"""One HTTP/2 connection: moves bytes between its socket and nghttp2, and ends what is stuck."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, cast

from euclidesdb_server.rpc import nghttp2
from euclidesdb_server.rpc.caller import UNKNOWN, host_of_address
from euclidesdb_server.rpc.http2_bodies import Headers, Reply, StreamedReply
from euclidesdb_server.rpc.nghttp2_callbacks import Streams
from euclidesdb_server.rpc.nghttp2_library import Http2Error
from euclidesdb_server.rpc.tcp_options import find_silent_loss, unread_bytes

WRITE_BYTES: Final = 256 << 10
"""As many are handed to the socket at once, and may wait there."""
MIN_READ_BYTES: Final = 64 << 10
"""What a client must take on a connection whose replies wait, from one look to the next: otherwise
a byte now and then would keep a reply in memory for ever."""
PREFACE_BYTES: Final = 24
"""What every client sends first, whether it calls or not."""
LEAVE_TIMEOUT: Final = 1.0
"""Seconds that a client has to leave by itself, when the server stops, so that it reads all."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that what has been written has to leave after that."""
REFUSED_AT_ONCE: Final = 50
REFUSAL_SECONDS: Final = 1.0
"""So many connections whose calls are refused are kept for so long, so that clients get the reason;
further ones are closed at once."""
log = logging.getLogger(__name__)


class Calls(Streams, Protocol):
    """The calls on the streams of one connection."""

    def received(self) -> None:
        """All that has arrived has been handed over."""

    def unread(self, streams: dict[int, Reply | StreamedReply]) -> None:
        """These replies could not be sent at once, as their clients do not take them."""

    def lost(self) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """The protocol of one connection. For the event loop's thread."""

    def __init__(
        self,
        calls: Callable[[Connection], Calls],
        connections: set[Connection],
        timeout: float,
        refusal: str = "",
    ) -> None:
        """calls: makes those of this connection. connections: has this one while it is there.

        timeout: seconds for a client to begin, and to take MIN_READ_BYTES of replies. refusal: why
        its calls are to be refused, and the connection is closed soon; usually empty. host: where
        the client is, once the connection is made.
        """
        self._calls = calls(self)
        self._connections = connections
        connections.add(self)  # at once: a loop may accept hundreds before it makes the first one
        self._timeout = timeout
        self.refusal = refusal
        self.host = UNKNOWN
        self._transport: asyncio.Transport | None = None
        self._session: nghttp2.Session | None = None
        self._received = 0
        self._in_session = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        # of the replies at the last look: how much was sent, after how many pauses
        self._sent: dict[int, tuple[int, int]] = {}
        self._unsent = 0  # in the socket's buffer then, if it was full
        self._written = self._written_before = 0  # bytes in all, now and then
        self._lost = asyncio.Event()

    def is_turned_away(self) -> bool:
        """Whether there are so many connections that this one is closed without a reason."""
        return bool(self.refusal) and len(self._connections) > REFUSED_AT_ONCE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.host = host_of_address(transport.get_extra_info("peername"))
        find_silent_loss(transport.get_extra_info("socket"))
        self._session = nghttp2.Session(self._calls)
        if self.refusal:
            if self.is_turned_away():
                self._abort()
                return
            asyncio.get_running_loop().call_later(REFUSAL_SECONDS, self._abort)
        self._watch()
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """End what is on the connection."""
        self._lost.set()
        self._transport = None
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._calls.lost()
        if self._session is not None:
            self._session.close()
            self._session = None

    def data_received(self, data: bytes) -> None:
        """Read what has arrived, and send what it has led to."""
        if self._session is None:
            return
        if self._received < PREFACE_BYTES:
            self._received += len(data)
        self._in_session = True
        try:
            self._session.receive(data)
            self._calls.received()
        except Http2Error as error:
            log.debug("a connection is closed: %s", error)
            self._end()
            return
        finally:
            self._in_session = False
        self._send()

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._paused = True
        self._watch()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused, self._unsent = False, 0
        self._send()

    def respond(self, stream: int, headers: Headers) -> None:
        """As `Session.respond`, and send it."""
        if self._session is not None:
            self._submit(self._session.respond, stream, headers)

    def respond_with_body(
        self,
        stream: int,
        headers: Headers,
        body: tuple[bytes, bytes],
        trailers: Headers,
    ) -> None:
        """As `Session.respond_with_body`, and send it."""
        if self._session is not None:
            self._submit(self._session.respond_with_body, stream, headers, body, trailers)

    def stream(
        self, stream: int, headers: Headers, part: bytes, on_taken: Callable[[int], None]
    ) -> None:
        """As `Session.stream`, and send it."""
        if self._session is not None:
            self._submit(self._session.stream, stream, headers, part, on_taken)

    def end(self, stream: int, trailers: Headers) -> None:
        """As `Session.end`, and send it."""
        if self._session is not None:
            self._submit(self._session.end, stream, trailers)

    def take(self, stream: int, size: int) -> None:
        """As `Session.take`, and send it."""
        if self._session is not None:
            self._submit(self._session.take, stream, size)

    def go_away(self) -> None:
        """Ask the client for no new calls."""
        if self._session is not None:
            self._session.go_away()
            self._send()

    def is_sending(self) -> bool:
        """Whether a reply has not yet reached the client."""
        if self._session is None or (transport := self._transport) is None:
            return False
        waits = self._session.replies or transport.get_write_buffer_size()
        return bool(waits or unread_bytes(transport.get_extra_info("socket")))

    async def close(self) -> None:
        """End the connection once its client has left, or what has been written has."""
        if self._transport is None:
            return
        for end, seconds in (self._close, LEAVE_TIMEOUT), (self._abort, CLOSE_TIMEOUT):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._lost.wait()
            end()

    def _submit(self, respond: Callable[..., None], *args: object) -> None:
        try:
            respond(*args)
        except Http2Error as error:
            log.debug("a connection is closed: %s", error)
            self._abort()
            return
        if not self._in_session:
            self._send()

    def _send(self) -> None:
        """Write what is to be sent, as far as the client takes it."""
        session = self._session
        if session is None or self._transport is None:
            return
        self._in_session = True
        try:
            self._write(session)
            if not self._paused and self._answered_early(session):
                self._write(session)
        except Http2Error as error:
            log.debug("a connection is closed: %s", error)
            self._abort()
            return
        finally:
            self._in_session = False
        if not (self._paused or session.wants_more()):
            self._close()  # the other side has ended it, or has made an error
        elif session.replies:
            self._calls.unread(session.replies)
            self._watch()

    def _write(self, session: nghttp2.Session) -> None:
        frames: list[bytes] = []
        size = 0
        while not self._paused and (frame := session.output()):
            frames.append(frame)
            size += len(frame)
            if size >= WRITE_BYTES:
                self._hand_over(frames)
                frames, size = [], 0
        if frames:
            self._hand_over(frames)

    def _hand_over(self, frames: list[bytes]) -> None:
        if self._transport is not None:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._written += len(data)
            self._transport.write(data)

    def _answered_early(self, session: nghttp2.Session) -> bool:
        """End the streams whose replies are sent, though their clients would go on sending."""
        if not session.answered:
            return False
        early, session.answered = session.answered & session.open, set()
        for stream in early:
            session.reset(stream, nghttp2.NO_ERROR)
        return bool(early)

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._look)

    def _look(self) -> None:
        """End what has not moved for `timeout` seconds."""
        self._timer = None
        session = self._session
        if session is None or self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size() if self._paused else 0
        if self._received < PREFACE_BYTES or 0 < self._unsent < unsent + MIN_READ_BYTES:
            self._abort()
            return
        self._unsent = unsent
        now = {stream: (reply.pauses, reply.sent) for stream, reply in session.replies.items()}
        if not self._paused:
            # many replies that share a slow connection each move a little
            is_slow = self._written < self._written_before + MIN_READ_BYTES
            for stream, (pauses, sent) in now.items():
                before = self._sent.get(stream)
                if before == (pauses, sent) or (is_slow and before and before[0] == pauses):
                    log.info("a reply is given up, as its client does not read it")
                    session.reset(stream, nghttp2.CANCEL)
        self._sent, self._written_before = now, self._written
        if now or self._paused:
            self._watch()
        self._send()

    def _end(self) -> None:
        """Say why, if there is a way to, and close the connection."""
        if self._session is not None and self._transport is not None:
            with suppress(Http2Error):
                self._write(self._session)
            self._close()

    def _close(self) -> None:
        """Close the connection, once what has been written is read; after `timeout` regardless."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(self._timeout, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
