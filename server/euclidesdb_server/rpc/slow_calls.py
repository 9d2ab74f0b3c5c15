"""The log of slow calls: what was slow, and which part of it took how long.

It has names of methods, numbers and the request id, and nothing else that clients send. Streams are
not slow: they last as long as their clients want, and so do changes of models.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Lane, Method

log = logging.getLogger(__name__)

MAX_LINES: Final = 50
"""In INTERVAL seconds: a server that is slow altogether must not fill its log."""
INTERVAL: Final = 10.0


class SlowCalls:
    """Logs calls that take at least `limit` seconds. For the event loop's thread."""

    needs_begin = False

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since = 0.0
        self._lines = 0
        self._left_out = 0

    def begun(self, method: Method, call: RpcCall) -> None:
        """As `CallObserver.begun`."""

    def ended(self, method: Method, call: RpcCall, seconds: float) -> None:
        """As `CallObserver.ended`."""
        if seconds < self._limit or not method.is_unary or method.lane is Lane.CHANGES:
            return
        now = time.monotonic()
        if now - self._since > INTERVAL:
            if self._left_out:
                log.warning("%d more slow calls were left out of this log", self._left_out)
            self._since, self._lines, self._left_out = now, 0, 0
        if self._lines >= MAX_LINES:
            self._left_out += 1
            return
        self._lines += 1
        fields = {
            "method": method.path.removeprefix("/"),
            "status": call.status.name,
            "seconds": round(seconds, 4),
            "request_bytes": call.request_bytes,
            "reply_bytes": call.reply_bytes,
            **{
                f"{name}_seconds": round(part.seconds, 4)
                for name, part in call.parts.copy().items()  # a thread may still add some
            },
        }
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        log.warning("slow call: %s", words, extra={**fields, "request_id": call.request_id})
