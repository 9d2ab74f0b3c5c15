"""The event loop of this process, which runs in a thread of its own.

There is one, however many servers there are: gRPC wakes a loop by way of one socket per process.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from euclidesdb_server.rpc.departed_callers import leave_out_departed_callers

T = TypeVar("T")


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """The loop; it is started when it is first asked for, and runs as long as the process."""
    loop = _new_loop()
    leave_out_departed_callers(loop)
    threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
    return loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run work on the loop, from another thread, and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result()


def _new_loop() -> asyncio.AbstractEventLoop:
    """That of uvloop if it is installed: it takes a third of the time of asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
