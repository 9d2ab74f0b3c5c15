"""Shared: what the calls on all connections of a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.methods import Method


class Shared:
    """stopping: whether new calls are refused. running: the calls that are being answered."""

    def __init__(
        self, methods: Iterable[Method], answerer: Answerer, config: ServerConfig, access: Access
    ) -> None:
        self.methods = {method.path.encode(): method for method in methods}
        self.answerer = answerer
        self.access = access
        self.message_timeout = config.message_timeout
        self.max_message_bytes = config.max_message_bytes
        self.stopping = False
        self.running: set[asyncio.Task[Any]] = set()
