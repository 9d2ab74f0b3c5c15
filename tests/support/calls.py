"""Raw gRPC calls, and the errors that they end with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from euclidesdb_protos.v1 import database_pb2_grpc

TIMEOUT = 100.0
"""Seconds after which a call hangs, however loaded the machine is."""


@dataclass(frozen=True)
class Refusal:
    """A call's error. reason: from the trailing metadata; None if gRPC itself refused the call."""

    status: grpc.StatusCode
    reason: str | None
    message: str


def refusal(call: Callable[..., Any], request: Any) -> Refusal:
    """The error that `call(request)` ends with; the test fails if it succeeds."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT)
    error = caught.value
    reasons = [str(entry.value) for entry in error.trailing_metadata() or ()
               if entry.key == "euclidesdb-reason"]  # fmt: skip
    return Refusal(error.code(), reasons[0] if reasons else None, error.details() or "")


class Stubs:
    """Both services of one server, as their generated stubs call them. Close it."""

    def __init__(self, address: str, *, own_connection: bool = False) -> None:
        """own_connection: do not share one with other channels of this process."""
        # the client has no limits: those of the server are under test
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if own_connection:
            options.append(("grpc.use_local_subchannel_pool", 1))
        self.channel = grpc.insecure_channel(address, options=options)
        self.v1: Any = database_pb2_grpc.FeatureDatabaseStub(self.channel)
        self.legacy: Any = euclidesproto_pb2_grpc.SimilarStub(self.channel)

    def __enter__(self) -> Stubs:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
