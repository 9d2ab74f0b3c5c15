"""HTTP/2 by nghttp2, the C library that curl and many servers use. It does no input or output."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from ctypes import byref, c_void_p, string_at
from typing import Any, Final

from euclidesdb_server.rpc.http2_bodies import Headers, Reply, StreamedReply
from euclidesdb_server.rpc.nghttp2_callbacks import (
    AT_BODY,
    CALLBACKS,
    MAX_HEADER_BYTES,
    SessionState,
    Streams,
    sessions,
)
from euclidesdb_server.rpc.nghttp2_library import Http2Error, Library, Setting

STREAM_WINDOW: Final = 1 << 20
CONNECTION_WINDOW: Final = 4 << 20
"""Bytes that a client may send, on a stream and on a connection, before they have been taken."""
TAKEN_BYTES: Final = CONNECTION_WINDOW // 4
"""Of bodies that were read: after so many, the client may send as many again on the connection."""
MAX_STREAMS: Final = 10_000
"""Calls at once on one connection; a client's own queue takes the others."""
RESETS_AT_ONCE, RESETS_PER_SECOND = 20_000, 1_000
"""Streams that a client may reset, on one connection: more is taken for an attack."""

NO_ERROR, CANCEL = 0x0, 0x8
"""Codes of HTTP/2, for `reset`."""

_SETTINGS: Final = {3: MAX_STREAMS, 4: STREAM_WINDOW, 6: MAX_HEADER_BYTES}
_numbers: Final = itertools.count(1)


class Session(SessionState):
    """The HTTP/2 of one connection, as its server. For one thread."""

    def __init__(self, streams: Streams) -> None:
        self._number = next(_numbers)
        super().__init__(streams, _library(), self._number)
        sessions[self._number] = self
        self._output = c_void_p()
        self._at_output = byref(self._output)
        settings = (Setting * len(_SETTINGS))(*[Setting(*each) for each in _SETTINGS.items()])
        self._check("submit_settings", 0, settings, len(_SETTINGS))
        self._check("session_set_local_window_size", 0, 0, CONNECTION_WINDOW)

    def receive(self, data: bytes) -> None:
        """Read what has arrived. Raises Http2Error."""
        result = self.library.receive(self.session, data, len(data))
        if result < 0:
            raise Http2Error(self.library.words(result))
        if self.taken >= TAKEN_BYTES:
            taken, self.taken = self.taken, 0
            self._check("session_consume_connection", taken)

    def output(self) -> bytes:
        """What is to be sent next: a frame or so; empty if there is nothing. Raises Http2Error."""
        size = self.library.output(self.session, self._at_output)
        if size <= 0:
            if size < 0:
                raise Http2Error(self.library.words(size))
            return b""
        return string_at(self._output.value or 0, size)

    def wants_more(self) -> bool:
        """Whether the connection goes on, once all output is sent."""
        return bool(self.library.wants_to_read(self.session))

    def respond(self, stream: int, headers: Headers) -> None:
        """Answer a stream by headers alone."""
        self._respond(stream, headers, None)
        self.answered.add(stream)

    def respond_with_body(
        self, stream: int, headers: Headers, body: tuple[bytes, bytes], trailers: Headers
    ) -> None:
        """Answer a stream by a body in two parts, of one byte or more."""
        self.replies[stream] = Reply(*body, trailers)
        self._respond(stream, headers, AT_BODY)

    def stream(
        self, stream: int, headers: Headers, part: bytes, on_taken: Callable[[int], None]
    ) -> None:
        """Send a part of a body, of one byte or more; the first one is sent after the headers.

        on_taken: as in `StreamedReply`.
        """
        reply = self.streamed.get(stream)
        if reply is None:
            reply = self.streamed[stream] = StreamedReply(on_taken)
            reply.add(part)
            self.replies[stream] = reply
            self._respond(stream, headers, AT_BODY)
            return
        reply.add(part)
        self._resume(stream, reply)

    def end(self, stream: int, trailers: Headers) -> None:
        """End the body of which parts have been sent."""
        reply = self.streamed.get(stream)
        if reply is not None:
            reply.trailers = trailers
            self._resume(stream, reply)

    def reset(self, stream: int, code: int) -> None:
        """End a stream now."""
        self._check("submit_rst_stream", 0, stream, code)

    def go_away(self) -> None:
        """Ask the client for no new streams; those that it has begun go on."""
        last = self._check("session_get_last_proc_stream_id")
        self._check("submit_goaway", 0, last, NO_ERROR, None, 0)

    def close(self) -> None:
        """Free what the library holds. Idempotent; never while `receive` or `output` runs."""
        if sessions.pop(self._number, None) is not None:
            self.library.delete(self.session)

    def _resume(self, stream: int, reply: StreamedReply) -> None:
        self.replies[stream] = reply
        if reply.waits:
            reply.waits = False
            self._check("session_resume_data", stream)

    def _respond(self, stream: int, headers: Headers, body: Any) -> None:
        result = self.library.submit_response(
            self.session, stream, headers.pairs, headers.size, body
        )
        if result < 0:
            self.forget(stream)
            raise Http2Error(self.library.words(result))

    def _check(self, name: str, *args: object) -> int:
        return self.library.check(name, self.session, *args)


def check_available() -> None:
    """Raise Nghttp2Unavailable unless the library can be used."""
    _library()


@functools.cache
def _library() -> Library:
    return Library(CALLBACKS, resets=(RESETS_AT_ONCE, RESETS_PER_SECOND))
