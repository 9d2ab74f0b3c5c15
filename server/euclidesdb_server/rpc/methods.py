"""The methods of a service, as any transport serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from euclidesdb_server.database.requests import Call
from euclidesdb_server.rpc.repeated_fields import parse_of
from euclidesdb_server.rpc.roles import required_role

Handler: TypeAlias = Callable[[Any, Call], Any]
"""Takes a request and the call; returns the reply, or the steps to it (`Steps`) if it may wait for
a model. Raises DatabaseError.

If the method streams requests, it takes a `RequestStream` instead. If it streams replies, it
returns an iterator or an asynchronous generator of them. An iterator holds a thread while it makes
the next reply, but not while its client reads; what waits for a model or for requests is an
asynchronous generator, which awaits `Wait`s."""


class Lane(Enum):
    """The threads that a method runs in, so that no kind of call keeps another from them."""

    CALLS = "call"
    CONTROL = "control"
    """Quick ones, by which an operator sees and stops a server that is overloaded."""
    EXPORTS = "export"
    """They keep a core busy for as long as their clients read. Few at a time, so that others find
    one: with 80 threads for hundreds of exports, a search took 33 ms instead of 1.2."""
    CHANGES = "change"
    """Changes of models, one after the other, which may take minutes."""


LANES: Final = {
    "ExportItems": Lane.EXPORTS,
    "ListModels": Lane.CONTROL,
    "Stats": Lane.CONTROL,
    "Shutdown": Lane.CONTROL,
    "Check": Lane.CONTROL,
    "List": Lane.CONTROL,
    "Watch": Lane.CONTROL,
    "ServerReflectionInfo": Lane.CONTROL,
    "LoadModel": Lane.CHANGES,
    "UnloadModel": Lane.CHANGES,
    "DropModelVersion": Lane.CHANGES,
    "GetJob": Lane.CONTROL,
    "ListJobs": Lane.CONTROL,
}


READS: Final = frozenset(
    (
        "GetItem",
        "GetItems",
        "CountItems",
        "ListItems",
        "SampleItems",
        "SummarizeItems",
        "ExportItems",
        "GetJob",
        "ListJobs",
        "FindSimilar",
        "FindSimilarBatch",
        "FindSimilarImage",
        "FindSimilarImageById",
    )
)


OPEN_BYTES: Final = 1 << 10
"""The longest request to a method that requires no role: a caller without a key fills no memory."""


class Service(Protocol):
    """Has a handler for each method of its descriptor, under the method's name."""

    def is_quick(self, request: Any) -> bool:
        """Whether each step of the answer takes a millisecond or so: the event loop takes it then.

        To hand a step over to a thread and to get its result back takes longer than most of them.
        """


@dataclass(frozen=True, slots=True)
class Method:
    """One method. path: "/package.Service/Name". parse: raises on bytes that are not a request.

    Calls of methods that stream are never answered on the event loop.
    """

    path: str
    parse: Callable[[bytes], Message]
    handle: Handler
    lane: Lane
    is_quick: Callable[[Any], bool]
    reads: bool = False
    """Whether it only reads, so that a call may be refused when its reply is there."""
    streams_requests: bool = False
    streams_replies: bool = False
    is_open: bool = False
    """Whether it requires no role, and so no API key either."""

    @property
    def is_unary(self) -> bool:
        """Whether a call is one request and one reply."""
        return not (self.streams_requests or self.streams_replies)

    def max_bytes(self, configured: int) -> int:
        """The longest request that is taken. configured: [server] max_message_bytes."""
        return min(configured, OPEN_BYTES) if self.is_open else configured


def methods_of(descriptor: ServiceDescriptor, service: Service) -> Iterator[Method]:
    """The methods of a service, with the handlers of `service`."""
    for method in descriptor.methods:
        path = f"/{descriptor.full_name}/{method.name}"
        yield Method(
            path,
            parse_of(method),
            getattr(service, method.name),
            LANES.get(method.name, Lane.CALLS),
            service.is_quick,
            method.name in READS,
            method.client_streaming,
            method.server_streaming,
            required_role(path) is None,
        )
