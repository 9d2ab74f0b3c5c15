"""OpenStreams: the calls that stream, which end when their callers may no longer make them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.event_loop import event_loop


class OpenStreams:
    """For the event loop's thread, but for `recheck_soon`."""

    def __init__(self) -> None:
        self._tasks: dict[RpcCall, asyncio.Task[Any]] = {}
        self._errors: dict[RpcCall, DatabaseError] = {}

    @contextmanager
    def hold(self, call: RpcCall) -> Iterator[None]:
        """While it is answered by the task that runs. Raises what `recheck` has found."""
        call.check()  # it may have been admitted just before a change
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("a call is answered by a task")
        self._tasks[call] = task
        try:
            yield
        except asyncio.CancelledError:
            if (error := self._errors.get(call)) is None:
                raise
            raise error from None
        finally:
            del self._tasks[call]
            self._errors.pop(call, None)

    def recheck(self) -> None:
        """End the calls that may no longer be made, with the error that says so."""
        for call, task in [*self._tasks.items()]:
            try:
                call.check()
            except DatabaseError as error:
                self._errors[call] = error
                task.cancel()

    def recheck_soon(self) -> None:
        """`recheck`, from any thread."""
        event_loop().call_soon_threadsafe(self.recheck)
