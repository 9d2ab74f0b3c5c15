"""Raw gRPC calls, and what their caller gets where they are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from euclidesdb_protos.v1 import database_pb2_grpc

TIMEOUT = 30.0


@dataclass(frozen=True)
class Refusal:
    """A call's error. reason: of the trailing metadata; None where gRPC itself refused."""

    status: grpc.StatusCode
    reason: str | None
    message: str


def refusal(call: Callable[..., Any], request: Any) -> Refusal:
    """What `call(request)` is refused with; fails where it is not."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT)
    error = caught.value
    reasons = [entry.value for entry in error.trailing_metadata() or ()
               if entry.key == "euclidesdb-reason"]  # fmt: skip
    return Refusal(error.code(), reasons[0] if reasons else None, error.details())


class Stubs:
    """Both services of one server, as their generated stubs call them. Close it."""

    def __init__(self, address: str) -> None:
        # no limits of the client's own: the server's are on trial
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.v1: Any = database_pb2_grpc.FeatureDatabaseStub(self.channel)
        self.legacy: Any = euclidesproto_pb2_grpc.SimilarStub(self.channel)

    def __enter__(self) -> Stubs:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
