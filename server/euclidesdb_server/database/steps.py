"""Work that waits for models without holding a thread.

A use case that runs models is a coroutine: where it needs an output that is not there yet, it
awaits a `Wait`. It knows no event loop. Its steps run one after the other, each in any thread, and
it goes on when the future is done or the time is up: `finish` waits in the calling thread, a
transport without a thread.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Coroutine[Any, Any, T]
"""Yields `Wait`s, and takes nothing."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Until the future is done, or `timeout` seconds have passed; None: for ever."""

    future: Future[Any]
    timeout: float | None

    def __await__(self) -> Generator[Wait, None, None]:
        """Returns at once if the future is done."""
        if not self.future.done():
            yield self


async def result_of(future: Future[T]) -> T:
    """The result of a future, however long it takes. Raises what the work raised."""
    await Wait(future, None)
    return future.result()


def finish(steps: Steps[T]) -> T:
    """Run steps to their end in this thread, which waits in between; returns their result."""
    while True:
        try:
            awaited: Wait = steps.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        wait([awaited.future], awaited.timeout)
