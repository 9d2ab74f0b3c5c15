"""Request and Taker: what a model's queue holds, and what takes it from there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class RunFuture(Future[Result]):
    """The outcome of an item, and how it came about.

    times: when it arrived, was given to a worker, and was done, by `time.monotonic`; None: it did
    not.
    """

    times: tuple[float, float, float] | None = None


@dataclass(slots=True, eq=False)
class Request(Generic[Work, Result]):
    """One item on its way through a model.

    alone: it was in a batch that killed its worker; it is retried once, in a batch of one. taken:
    when it was given to a worker, by `time.monotonic`. beyond_limit: it takes no place of the
    queue's limit.
    """

    work: Work
    future: RunFuture[Result] = field(default_factory=RunFuture)
    arrived: float = field(default_factory=time.monotonic)
    alone: bool = False
    taken: float = 0.0
    beyond_limit: bool = False


class Taker(Protocol[Work, Result]):
    """What takes batches. Its methods but `send` are called with the queue locked."""

    @property
    def max_size(self) -> int:
        """Of a batch."""

    @property
    def max_wait(self) -> float:
        """Seconds that the first item of a batch waits for others."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no batch, so that another thread may send it one."""

    def has_room(self, *, alone: bool) -> bool:
        """Whether it can take a batch now; `alone`, one of a request that is retried alone."""

    def busy_for(self, waiting: int) -> float:
        """Given the number of waiting requests: for how many more seconds it gains nothing from a
        batch.
        """

    def may_block(self, works: Iterable[Work]) -> bool:
        """Whether sending these to it, while it is idle, may make the sender wait."""

    def add(self, batch: list[Request[Work, Result]]) -> int | None:
        """Record a batch that was taken; returns its number, or None if it takes none any more."""

    def send(self, number: int, batch: list[Request[Work, Result]]) -> None:
        """Send a batch on that was added."""
