"""HTTP/2 by nghttp2, the C library that curl and many servers use. It does no input or output."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterable
from ctypes import byref, c_void_p, memmove, string_at
from dataclasses import dataclass
from typing import Any, Final, Protocol

from euclidesdb_server.rpc.nghttp2_library import (
    Body,
    Http2Error,
    Library,
    OnClose,
    OnData,
    OnFrame,
    OnHeader,
    Pair,
    ReadBody,
    Setting,
)

STREAM_WINDOW: Final = 1 << 20
CONNECTION_WINDOW: Final = 4 << 20
"""Bytes that a client may send, on a stream and on a connection, before they have been taken."""
MAX_STREAMS: Final = 10_000
"""Calls at once on one connection; a client's own queue takes the others."""
MAX_HEADER_BYTES: Final = 16 << 10
"""Of the names and values of a call's headers."""
RESETS_AT_ONCE, RESETS_PER_SECOND = 20_000, 1_000
"""Streams that a client may reset, on one connection: more is taken for an attack."""

NO_ERROR, CANCEL = 0x0, 0x8
"""Codes of HTTP/2, for `reset`."""

_DATA, _HEADERS = 0, 1
_END_STREAM: Final = 0x1
_SETTINGS: Final = {3: MAX_STREAMS, 4: STREAM_WINDOW, 6: MAX_HEADER_BYTES}
_DATA_EOF, _DATA_NO_END_STREAM = 0x1, 0x2
_CALLBACK_FAILURE, _TEMPORAL_CALLBACK_FAILURE = -902, -521

log = logging.getLogger(__name__)


class Streams(Protocol):
    """Takes what arrives on the streams of a connection.

    Nothing is sent from here at once: what is submitted leaves by `Session.output`.
    """

    def headers(self, stream: int, values: dict[bytes, bytes]) -> None:
        """The headers of a new stream, of the names in `WANTED`."""

    def data(self, stream: int, piece: bytes) -> None:
        """A part of a stream's body; the client may send as much again."""

    def end(self, stream: int) -> None:
        """The client has sent all of a stream."""

    def closed(self, stream: int) -> None:
        """A stream is over: answered, reset by either side, or lost."""


WANTED: Final = frozenset(
    (b":method", b":path", b"content-type", b"grpc-timeout", b"grpc-encoding")
)
_LENGTHS: Final = frozenset(map(len, WANTED))


class Headers:
    """Headers as nghttp2 takes them; may be sent any number of times."""

    __slots__ = ("_kept", "pairs", "size")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._kept = [*headers]
        self.size = len(self._kept)
        self.pairs = (Pair * self.size)(
            *[Pair(name, value, len(name), len(value), 0) for name, value in self._kept]
        )


@dataclass(slots=True)
class Reply:
    """A body that is being sent: `start`, then `rest`; and the trailers after it."""

    start: bytes
    rest: bytes
    trailers: Headers
    sent: int = 0

    def take(self, size: int) -> bytes:
        """The next bytes, `size` at most."""
        at = self.sent - len(self.start)
        piece = (
            (self.start + self.rest[:size])[self.sent :][:size]
            if at < 0
            else (self.rest[at : at + size])
        )
        self.sent += len(piece)
        return piece

    def is_sent(self) -> bool:
        """Whether nothing is left."""
        return self.sent == len(self.start) + len(self.rest)


class Session:
    """The HTTP/2 of one connection, as its server. For one thread."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.replies: dict[int, Reply] = {}
        self.headers: dict[bytes, bytes] = {}
        self.header_bytes = 0
        self.open: set[int] = set()
        """Streams on which the client may still send."""
        self.answered: set[int] = set()
        """Those of them that are answered, until the caller clears it."""
        self._library = _library()
        self._number = next(_numbers)
        _sessions[self._number] = self
        self._session = self._library.new_session(self._number)
        self._output = c_void_p()
        self._at_output = byref(self._output)
        settings = (Setting * len(_SETTINGS))(*[Setting(*each) for each in _SETTINGS.items()])
        self._check("submit_settings", 0, settings, len(_SETTINGS))
        self._check("session_set_local_window_size", 0, 0, CONNECTION_WINDOW)

    def receive(self, data: bytes) -> None:
        """Read what has arrived. Raises Http2Error."""
        result = self._library.receive(self._session, data, len(data))
        if result < 0:
            raise Http2Error(self._library.words(result))

    def output(self) -> bytes:
        """What is to be sent next: a frame or so; empty if there is nothing. Raises Http2Error."""
        size = self._library.output(self._session, self._at_output)
        if size <= 0:
            if size < 0:
                raise Http2Error(self._library.words(size))
            return b""
        return string_at(self._output.value or 0, size)

    def wants_more(self) -> bool:
        """Whether the connection goes on, once all output is sent."""
        return bool(self._library.wants_to_read(self._session))

    def respond(self, stream: int, headers: Headers) -> None:
        """Answer a stream by headers alone."""
        self._respond(stream, headers, None)
        self.answered.add(stream)

    def respond_with_body(
        self, stream: int, headers: Headers, body: tuple[bytes, bytes], trailers: Headers
    ) -> None:
        """Answer a stream by a body in two parts, of one byte or more."""
        self.replies[stream] = Reply(*body, trailers)
        self._respond(stream, headers, _AT_BODY)

    def reset(self, stream: int, code: int) -> None:
        """End a stream now."""
        self._check("submit_rst_stream", 0, stream, code)

    def go_away(self) -> None:
        """Ask the client for no new streams; those that it has begun go on."""
        last = self._check("session_get_last_proc_stream_id")
        self._check("submit_goaway", 0, last, NO_ERROR, None, 0)

    def close(self) -> None:
        """Free what the library holds. Idempotent; never while `receive` or `output` runs."""
        if _sessions.pop(self._number, None) is not None:
            self._library.delete(self._session)

    def _respond(self, stream: int, headers: Headers, body: Any) -> None:
        result = self._library.submit_response(
            self._session, stream, headers.pairs, headers.size, body
        )
        if result < 0:
            self.replies.pop(stream, None)
            raise Http2Error(self._library.words(result))

    def _check(self, name: str, *args: object) -> int:
        return self._library.check(name, self._session, *args)


_sessions: Final[dict[int, Session]] = {}
_numbers: Final = itertools.count(1)


def _failed() -> int:
    """To be returned by a callback, which cannot raise: the connection is closed."""
    log.exception("a connection is closed")
    return _CALLBACK_FAILURE


def _on_begin_headers(_: int, frame: Any, number: int) -> int:
    session = _sessions[number]
    session.headers, session.header_bytes = {}, 0
    session.open.add(frame[0].stream)
    return 0


def _on_header(
    _: int, __: int, name: int, name_size: int, value: int, value_size: int, ___: int, number: int
) -> int:
    session = _sessions[number]
    session.header_bytes += name_size + value_size
    if session.header_bytes > MAX_HEADER_BYTES:
        return _TEMPORAL_CALLBACK_FAILURE  # resets the stream
    if name_size in _LENGTHS:
        key = string_at(name, name_size)
        if key in WANTED:
            session.headers.setdefault(key, string_at(value, value_size))
    return 0


def _on_frame(_: int, frame: Any, number: int) -> int:
    head = frame[0]
    kind = head.type
    if kind not in (_DATA, _HEADERS):
        return 0
    session, stream = _sessions[number], head.stream
    try:
        if kind == _HEADERS and b":method" in session.headers:
            values, session.headers = session.headers, {}  # later ones are trailers
            session.streams.headers(stream, values)
        if head.flags & _END_STREAM:
            session.open.discard(stream)
            session.streams.end(stream)
    except Exception:
        return _failed()
    return 0


def _on_data(_: int, __: int, stream: int, data: int, size: int, number: int) -> int:
    try:
        _sessions[number].streams.data(stream, string_at(data, size))
    except Exception:
        return _failed()
    return 0


def _on_close(_: int, stream: int, __: int, number: int) -> int:
    session = _sessions[number]
    session.open.discard(stream)
    session.answered.discard(stream)
    session.replies.pop(stream, None)
    try:
        session.streams.closed(stream)
    except Exception:
        return _failed()
    return 0


def _read_body(
    _: int, stream: int, buffer: int, size: int, flags: Any, __: int, number: int
) -> int:
    session = _sessions[number]
    reply = session.replies[stream]
    piece = reply.take(size)
    memmove(buffer, piece, len(piece))
    if reply.is_sent():
        flags[0] = _DATA_EOF | _DATA_NO_END_STREAM
        del session.replies[stream]
        session.answered.add(stream)
        trailers = reply.trailers
        result: int = session._library.submit_trailer(
            session._session, stream, trailers.pairs, trailers.size
        )
        if result < 0:
            return _CALLBACK_FAILURE
    return len(piece)


_body: Final = Body(None, ReadBody(_read_body))
_AT_BODY: Final = byref(_body)
_CALLBACKS: Final = {
    "on_begin_headers": OnFrame(_on_begin_headers),
    "on_header": OnHeader(_on_header),
    "on_frame_recv": OnFrame(_on_frame),
    "on_data_chunk_recv": OnData(_on_data),
    "on_stream_close": OnClose(_on_close),
}


def check_available() -> None:
    """Raise Nghttp2Unavailable unless the library can be used."""
    _library()


@functools.cache
def _library() -> Library:
    return Library(_CALLBACKS, resets=(RESETS_AT_ONCE, RESETS_PER_SECOND))
