"""The service grpc.health.v1.Health: whether the server, its services and its models can be used.

The names that a client can ask for:

- the empty name, and each service on this port: SERVING until the server stops
- `models`: SERVING while all models are ready, those of folders that cannot be served included
- `models/NAME`: SERVING while a worker of that model is ready

The messages are those of the package grpcio-health-checking. Its servicer keeps the last status
that it was given; here a check looks at the models, so it is never late.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from grpc_health.v1 import health_pb2 as pb

from euclidesdb_server.database.requests import Call
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import NotFound

SERVER: Final = ""
MODELS: Final = "models"
LOOK_SECONDS: Final = 0.2
"""Between looks at the models while somebody watches."""
END_SECONDS: Final = 1.0
"""That those who watch have to hear that the server stops, before their connections end."""


@dataclass(frozen=True, slots=True, eq=False)
class _Watcher:
    """A call that waits until the status of `name` is another one than `seen`."""

    name: str
    seen: int
    changed: Future[None] = field(default_factory=Future)


class HealthService:
    """Thread-safe. `close` is idempotent; from then on nothing is SERVING."""

    def __init__(
        self, readiness: Callable[[], Mapping[str, bool]], services: Iterable[str]
    ) -> None:
        """readiness: whether each model is ready, by name. services: full names."""
        self._readiness = readiness
        self._services = (SERVER, *services, pb.DESCRIPTOR.services_by_name["Health"].full_name)
        self._condition = threading.Condition()
        self._watchers: set[_Watcher] = set()
        self._watching = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._look, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell those who watch that the server stops; their calls end."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        self._thread.join()
        with self._condition:
            self._condition.wait_for(lambda: not self._watching, END_SECONDS)

    def is_quick(self, request: Any) -> bool:  # noqa: ARG002
        """As `Service.is_quick`; control calls never are."""
        return False

    def Check(  # noqa: N802
        self,
        request: pb.HealthCheckRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.HealthCheckResponse:
        """The status of a name. Raises NotFound."""
        statuses = self._statuses()
        if request.service not in statuses:
            raise NotFound(
                f"there is no service {request.service[:255]!r}: there are a service for each "
                f"model, such as '{MODELS}/digits', {MODELS!r} for all of them, and '' for the "
                "server"
            )
        return pb.HealthCheckResponse(status=statuses[request.service])

    def List(  # noqa: N802
        self,
        request: pb.HealthListRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.HealthListResponse:
        """All names with their status."""
        listed = {
            name: pb.HealthCheckResponse(status=status) for name, status in self._statuses().items()
        }
        return pb.HealthListResponse(statuses=listed)

    async def Watch(  # noqa: N802
        self,
        request: pb.HealthCheckRequest,
        call: Call,  # noqa: ARG002
    ) -> AsyncGenerator[pb.HealthCheckResponse, None]:
        """The status of a name now and after each change. Ends when the server stops."""
        sent = None
        self._count(1)
        try:
            while True:
                is_last = self._is_closed
                watcher = _Watcher(request.service, _status(self._statuses(), request.service))
                if watcher.seen != sent:
                    yield pb.HealthCheckResponse(status=watcher.seen)
                    sent = watcher.seen
                if is_last:
                    return
                try:
                    if self._add(watcher):
                        await Wait(watcher.changed, None)
                finally:
                    with self._condition:
                        self._watchers.discard(watcher)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._condition:
            self._watching += more
            self._condition.notify_all()

    def _add(self, watcher: _Watcher) -> bool:
        """False if nothing will change any more."""
        with self._condition:
            if not self._is_closed:
                self._watchers.add(watcher)
                self._condition.notify_all()
            return not self._is_closed

    def _statuses(self) -> dict[str, int]:
        is_open = not self._is_closed
        ready = self._readiness()
        usable = dict.fromkeys(self._services, is_open)
        usable[MODELS] = is_open and all(ready.values())
        usable |= {f"{MODELS}/{name}": is_open and is_ready for name, is_ready in ready.items()}
        return {
            name: pb.HealthCheckResponse.SERVING if each else pb.HealthCheckResponse.NOT_SERVING
            for name, each in usable.items()
        }

    def _look(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._watchers or self._is_closed)
                if not self._is_closed:
                    self._condition.wait_for(lambda: self._is_closed, LOOK_SECONDS)
                is_last, watchers = self._is_closed, [*self._watchers]
            statuses = {} if is_last else self._statuses()
            for watcher in watchers:
                is_new = is_last or _status(statuses, watcher.name) != watcher.seen
                if is_new and not watcher.changed.done():
                    watcher.changed.set_result(None)
            if is_last:
                return


def _status(statuses: Mapping[str, int], name: str) -> int:
    return statuses.get(name, int(pb.HealthCheckResponse.SERVICE_UNKNOWN))
