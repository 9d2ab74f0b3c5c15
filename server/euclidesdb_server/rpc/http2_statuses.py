"""How calls by HTTP/2 begin and end: their headers and statuses."""

from __future__ import annotations

from typing import Final

import grpc

from euclidesdb_server.rpc.framing import ENCODINGS, FramingError, status_headers
from euclidesdb_server.rpc.http2_bodies import Headers
from euclidesdb_server.rpc.request_ids import KEY
from euclidesdb_server.rpc.status import Failure

GRPC_TYPE: Final = b"application/grpc"
_GRPC: Final = ((b":status", b"200"), (b"content-type", GRPC_TYPE))
REPLY: Final = Headers(_GRPC)
"""Before the first reply."""
OK: Final = Headers([(b"grpc-status", b"0")])
"""After the last one."""
OK_WITHOUT_REPLIES: Final = Headers([*_GRPC, (b"grpc-status", b"0")])
DEADLINE_PASSED: Final = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def refusal_headers(failure: Failure) -> Headers:
    """A call ends by headers only, so that its client may try again."""
    return Headers([*_GRPC, *status_headers(failure), (b"grpc-accept-encoding", ENCODINGS)])


def failure_trailers(failure: Failure) -> Headers:
    """A call ends after some replies."""
    return Headers(status_headers(failure))


def ok_trailers(given_id: str) -> Headers:
    """After the last reply; given_id: the request id that the caller sent, or ""."""
    if not given_id:
        return OK
    return Headers([(b"grpc-status", b"0"), (KEY.encode(), given_id.encode())])


def failure_of(error: BaseException, path: str, request_id: str = "") -> Failure:
    """How a call to the method at `path` ends that raised `error`."""
    if isinstance(error, FramingError):
        return error.failure
    if not isinstance(error, Exception):  # of the interpreter: not ours to answer
        raise error
    return Failure.of_call(error, path, request_id)
