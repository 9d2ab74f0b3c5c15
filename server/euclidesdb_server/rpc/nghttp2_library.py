"""The functions of nghttp2 that a server needs, by `ctypes`.

They keep Python's global lock: each takes microseconds, and giving the lock up, to get it back from
another thread, may take longer than all of them.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Mapping
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Final


class Nghttp2Unavailable(Exception):
    """The library is not there, or is too old."""


class Http2Error(Exception):
    """The connection cannot go on: the other end does not speak HTTP/2, or it attacks."""


class FrameHeader(Structure):
    """What every frame begins with."""

    _fields_ = (
        ("length", c_size_t),
        ("stream", c_int32),
        ("type", c_uint8),
        ("flags", c_uint8),
        ("reserved", c_uint8),
    )


class Pair(Structure):
    """A header."""

    _fields_ = (
        ("name", c_char_p),
        ("value", c_char_p),
        ("name_size", c_size_t),
        ("value_size", c_size_t),
        ("flags", c_uint8),
    )


class Setting(Structure):
    """An entry of a SETTINGS frame."""

    _fields_ = (("id", c_int32), ("value", c_uint32))


Frame = POINTER(FrameHeader)
OnFrame = CFUNCTYPE(c_int, c_void_p, Frame, c_void_p)
OnHeader = CFUNCTYPE(
    c_int, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_uint8, c_void_p
)
OnData = CFUNCTYPE(c_int, c_void_p, c_uint8, c_int32, c_void_p, c_size_t, c_void_p)
OnClose = CFUNCTYPE(c_int, c_void_p, c_int32, c_uint32, c_void_p)
ReadBody = CFUNCTYPE(
    c_ssize_t, c_void_p, c_int32, c_void_p, c_size_t, POINTER(c_uint32), c_void_p, c_void_p
)


class Body(Structure):
    """Where the data of a reply comes from."""

    _fields_ = (("source", c_void_p), ("read", ReadBody))


CALLBACKS: Final[dict[str, Any]] = {
    "on_begin_headers": OnFrame,
    "on_header": OnHeader,
    "on_frame_recv": OnFrame,
    "on_data_chunk_recv": OnData,
    "on_stream_close": OnClose,
}
_MANUAL_WINDOWS: Final = "option_set_no_auto_window_update"
_RESET_LIMIT: Final = "option_set_stream_reset_rate_limit"
_ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "session_callbacks_new": (c_void_p,),
    "option_new": (c_void_p,),
    _MANUAL_WINDOWS: (c_void_p, c_int),
    _RESET_LIMIT: (c_void_p, c_uint64, c_uint64),
    **{
        f"session_callbacks_set_{name}_callback": (c_void_p, kind)
        for name, kind in CALLBACKS.items()
    },
    "session_server_new2": (c_void_p, c_void_p, c_void_p, c_void_p),
    "session_del": (c_void_p,),
    "session_mem_recv": (c_void_p, c_char_p, c_size_t),
    "session_mem_send": (c_void_p, c_void_p),
    "session_want_read": (c_void_p,),
    "session_set_local_window_size": (c_void_p, c_uint8, c_int32, c_int32),
    "session_get_last_proc_stream_id": (c_void_p,),
    "session_consume_connection": (c_void_p, c_size_t),
    "session_consume_stream": (c_void_p, c_int32, c_size_t),
    "session_resume_data": (c_void_p, c_int32),
    "submit_settings": (c_void_p, c_uint8, c_void_p, c_size_t),
    "submit_response": (c_void_p, c_int32, c_void_p, c_size_t, c_void_p),
    "submit_trailer": (c_void_p, c_int32, c_void_p, c_size_t),
    "submit_rst_stream": (c_void_p, c_uint8, c_int32, c_uint32),
    "submit_goaway": (c_void_p, c_uint8, c_int32, c_uint32, c_char_p, c_size_t),
    "strerror": (c_int,),
}
_SIZES: Final = ("session_mem_recv", "session_mem_send")
"""Functions that return a size; the others return 0 or an error."""


class Library:
    """The functions, and what all sessions share: callbacks and options."""

    def __init__(self, callbacks: Mapping[str, Any], *, resets: tuple[int, int]) -> None:
        """callbacks: by nghttp2's names, each of its type of above.

        resets: how many streams a client may reset, at once and per second; versions before 1.57
        do not know such a limit, except as a security update of a distribution.

        Raises Nghttp2Unavailable.
        """
        name = ctypes.util.find_library("nghttp2")
        if name is None:
            raise Nghttp2Unavailable("the library nghttp2 is not installed (Debian: libnghttp2-14)")
        try:
            self._functions = _functions(ctypes.PyDLL(name))
        except (OSError, AttributeError) as error:
            raise Nghttp2Unavailable(f"the library {name} cannot be used: {error}") from error
        # those of every call, which need no look-up
        self.receive = self._functions["session_mem_recv"]
        self.output = self._functions["session_mem_send"]
        self.wants_to_read = self._functions["session_want_read"]
        self.submit_response = self._functions["submit_response"]
        self.submit_trailer = self._functions["submit_trailer"]
        self._callbacks, self._options = c_void_p(), c_void_p()
        self.check("session_callbacks_new", byref(self._callbacks))
        for kind, callback in callbacks.items():
            self._functions[f"session_callbacks_set_{kind}_callback"](self._callbacks, callback)
        self.check("option_new", byref(self._options))
        self._functions[_MANUAL_WINDOWS](self._options, 1)
        limit = self._functions.get(_RESET_LIMIT)
        if limit is not None:
            limit(self._options, *resets)

    def new_session(self, number: int) -> c_void_p:
        """A session of a server, which gives its callbacks the number. Ended by `delete`."""
        session = c_void_p()
        self.check("session_server_new2", byref(session), self._callbacks, number, self._options)
        return session

    def delete(self, session: c_void_p) -> None:
        """Free a session; never from one of its callbacks."""
        self._functions["session_del"](session)

    def check(self, name: str, *args: object) -> int:
        """Call a function. Raises Http2Error with its own words."""
        result: int = self._functions[name](*args)
        if result < 0:
            raise Http2Error(self.words(result))
        return result

    def words(self, code: int) -> str:
        """What an error says."""
        text: bytes = self._functions["strerror"](code)
        return text.decode()


def _functions(library: ctypes.PyDLL) -> dict[str, Any]:
    """Those of `_ARGUMENTS`, without their prefix. Raises AttributeError if one is missing."""
    found = {}
    for name, arguments in _ARGUMENTS.items():
        try:
            function = library[f"nghttp2_{name}"]
        except AttributeError:
            if name != _RESET_LIMIT:
                raise
            continue
        function.argtypes = arguments
        function.restype = (
            c_ssize_t if name in _SIZES else c_char_p if name == "strerror" else c_int
        )
        found[name] = function
    return found
