"""ConnectionLimit: how many connections there may be, so that the data keeps its open files."""

from __future__ import annotations

import logging
import time
from typing import Final

from euclidesdb_server.system.open_files import connections_permitted

LOG_INTERVAL: Final = 60.0
"""Seconds between messages while connections are refused."""

log = logging.getLogger(__name__)


class ConnectionLimit:
    """The limit of one server."""

    def __init__(self, configured: int) -> None:
        """configured: [server] max_connections; the limit of open files may permit fewer."""
        self._configured = configured
        self._logged_at = -LOG_INTERVAL

    def refusal(self, connections: int) -> str:
        """Why there may be no more than so many; empty if there may. A reason is logged."""
        permitted = min(self._configured, connections_permitted())
        if connections < permitted:
            return ""
        source = (
            "[server] max_connections permits"
            if permitted == self._configured
            else "the limit of open files (ulimit -n) permits"
        )
        reason = f"{connections:,} connections are open: {source} no more"
        if time.monotonic() - self._logged_at > LOG_INTERVAL:
            self._logged_at = time.monotonic()
            log.error("connections are refused: %s", reason)
        return reason
