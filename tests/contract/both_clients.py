"""Both clients behind one face: a function of a client, called with either, has one result."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, Protocol

import euclidesdb

TIMEOUT = 120.0

Use = Callable[[Any], Any]
"""What is done with a client: `lambda db: db.get("a")`."""


class Caller(Protocol):
    """Uses a client. name: of its class."""

    name: str

    def __call__(self, use: Use) -> Any:
        """The result; of an iterator all results."""

    def close(self) -> None: ...


class BlockingCaller:
    """Uses a `Client`."""

    name = "Client"

    def __init__(self, address: str) -> None:
        self._client = euclidesdb.Client(address, timeout=TIMEOUT)

    def __call__(self, use: Use) -> Any:
        result = use(self._client)
        return [*result] if inspect.isgenerator(result) else result

    def close(self) -> None:
        self._client.close()


class AwaitingCaller:
    """Uses an `AsyncClient`, on an event loop in a thread of its own."""

    name = "AsyncClient"

    def __init__(self, address: str) -> None:
        self._client = euclidesdb.AsyncClient(address, timeout=TIMEOUT)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="contract")
        self._thread.start()

    def __call__(self, use: Use) -> Any:
        return self._run(self._used(use))

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _used(self, use: Use) -> Any:
        result = use(self._client)
        if inspect.isawaitable(result):
            return await result
        if hasattr(result, "__aiter__") and not isinstance(result, euclidesdb.AsyncExport):
            return [each async for each in result]
        return result

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT)


CALLERS = (BlockingCaller, AwaitingCaller)
