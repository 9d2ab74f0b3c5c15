"""What nghttp2 calls when something arrives on a connection, or when it can send more of a body."""

from __future__ import annotations

import logging
from ctypes import byref, memmove, string_at
from typing import Any, Final, Protocol

from euclidesdb_server.rpc.http2_bodies import Headers, Reply, StreamedReply
from euclidesdb_server.rpc.nghttp2_library import (
    Body,
    Library,
    OnClose,
    OnData,
    OnFrame,
    OnHeader,
    ReadBody,
)

MAX_HEADER_BYTES: Final = 16 << 10
"""Of the names and values of a call's headers."""

_DATA, _HEADERS = 0, 1
_END_STREAM: Final = 0x1
_DATA_EOF, _DATA_NO_END_STREAM = 0x1, 0x2
_CALLBACK_FAILURE, _TEMPORAL_CALLBACK_FAILURE, _DEFERRED = -902, -521, -508

log = logging.getLogger(__name__)


class Streams(Protocol):
    """Takes what arrives on the streams of a connection.

    Nothing is sent from here at once: what is submitted leaves by `Session.output`.
    """

    def headers(self, stream: int, values: dict[bytes, bytes]) -> None:
        """The headers of a new stream, of the names in `WANTED`."""

    def data(self, stream: int, piece: bytes) -> bool:
        """A part of a stream's body; whether the client may send as much again.

        If not, `Session.take` permits it later. On the connection, it may at once.
        """

    def end(self, stream: int) -> None:
        """The client has sent all of a stream."""

    def closed(self, stream: int) -> None:
        """A stream is over: answered, reset by either side, or lost."""


WANTED: Final = frozenset(
    (
        b":method",
        b":path",
        b"authorization",
        b"content-type",
        b"grpc-timeout",
        b"grpc-encoding",
        b"traceparent",
        b"x-request-id",
    )
)
_LENGTHS: Final = frozenset(map(len, WANTED))


class SessionState:
    """What the callbacks read and change of a session."""

    def __init__(self, streams: Streams, library: Library, number: int) -> None:
        """number: that of the session in `sessions`."""
        self.streams = streams
        self.library = library
        self.session = library.new_session(number)
        self.replies: dict[int, Reply | StreamedReply] = {}
        """Those of which something is there and not sent."""
        self.streamed: dict[int, StreamedReply] = {}
        """Those that are made while they are being sent."""
        self.headers: dict[bytes, bytes] = {}
        self.header_bytes = 0
        self.open: set[int] = set()
        """Streams on which the client may still send."""
        self.answered: set[int] = set()
        """Those of them that are answered, until the caller clears it."""
        self.taken = 0
        """Bytes of bodies that were read, until the client is permitted to send as many again."""

    def take(self, stream: int, size: int) -> None:
        """Permit the client to send so many bytes more of a body."""
        self.library.check("session_consume_stream", self.session, stream, size)

    def forget(self, stream: int) -> None:
        """Drop what was to be sent on a stream that is over."""
        self.replies.pop(stream, None)
        self.streamed.pop(stream, None)

    def submit_trailers(self, stream: int, trailers: Headers | None) -> int:
        """Send them after the body. Returns an error below 0."""
        if trailers is None:
            return 0
        result: int = self.library.submit_trailer(
            self.session, stream, trailers.pairs, trailers.size
        )
        return result

    def pause(self, stream: int, reply: StreamedReply, size: int) -> int:
        """All that is there of a body is being sent: what its callback returns, after `size`."""
        self.replies.pop(stream, None)
        if size:
            reply.pauses += 1
            return size
        reply.waits = True
        return _DEFERRED


sessions: Final[dict[int, SessionState]] = {}
"""By the number that nghttp2 passes to the callbacks."""


def _failed() -> int:
    """To be returned by a callback, which cannot raise: the connection is closed."""
    log.exception("a connection is closed")
    return _CALLBACK_FAILURE


def _on_begin_headers(_: int, frame: Any, number: int) -> int:
    session = sessions[number]
    session.headers, session.header_bytes = {}, 0
    session.open.add(frame[0].stream)
    return 0


def _on_header(
    _: int, __: int, name: int, name_size: int, value: int, value_size: int, ___: int, number: int
) -> int:
    session = sessions[number]
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
    session, stream = sessions[number], head.stream
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


def _on_data(_: int, flags: int, stream: int, data: int, size: int, number: int) -> int:
    session = sessions[number]
    session.taken += size
    try:
        if session.streams.data(stream, string_at(data, size)) and not flags & _END_STREAM:
            session.take(stream, size)
    except Exception:
        return _failed()
    return 0


def _on_close(_: int, stream: int, __: int, number: int) -> int:
    session = sessions[number]
    session.open.discard(stream)
    session.answered.discard(stream)
    session.forget(stream)
    try:
        session.streams.closed(stream)
    except Exception:
        return _failed()
    return 0


def _read_body(
    _: int, stream: int, buffer: int, size: int, flags: Any, __: int, number: int
) -> int:
    session = sessions[number]
    reply = session.replies.get(stream)
    if reply is None:  # a body whose next part is not there yet
        reply = session.streamed[stream]
    piece = reply.take(size)
    memmove(buffer, piece, len(piece))
    if reply.is_sent():
        flags[0] = _DATA_EOF | _DATA_NO_END_STREAM
        session.forget(stream)
        session.answered.add(stream)
        if session.submit_trailers(stream, reply.trailers) < 0:
            return _CALLBACK_FAILURE
    elif isinstance(reply, StreamedReply) and reply.sent == reply.size:
        return session.pause(stream, reply, len(piece))
    return len(piece)


_body: Final = Body(None, ReadBody(_read_body))
AT_BODY: Final = byref(_body)
CALLBACKS: Final = {
    "on_begin_headers": OnFrame(_on_begin_headers),
    "on_header": OnHeader(_on_header),
    "on_frame_recv": OnFrame(_on_frame),
    "on_data_chunk_recv": OnData(_on_data),
    "on_stream_close": OnClose(_on_close),
}
