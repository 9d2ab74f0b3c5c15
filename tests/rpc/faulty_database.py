"""A database whose every call raises the error that the test sets, served like a real one."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.server import RpcServer


class FaultyDatabase:
    """Replaces a FeatureDatabase, for faults that a real one shows only by chance."""

    def __init__(self) -> None:
        self.fault: Exception = NotImplementedError()

    def _fail(self, *_: Any, **__: Any) -> NoReturn:
        raise self.fault

    add = get = get_many = update = remove = remove_many = find_similar = _fail
    list_models = readiness = stats = compact = load = reload = unload = drop = _fail
    count = page = sample = summarize = _fail
    start = cancel = all = _fail

    @property
    def fields(self) -> FaultyDatabase:
        return self

    def adds_quickly(self) -> bool:
        return False

    def searches_quickly(self, *_: object) -> bool:
        return False


class FaultyServer:
    """Both services over a FaultyDatabase, at `address`."""

    def __init__(self) -> None:
        self.database = cast(Any, FaultyDatabase())  # the services use only its calls
        config = ServerConfig(address="127.0.0.1:0", shutdown_grace=0)
        parts = (self.database, self.database, self.database)
        self._server = RpcServer(
            *parts,
            config,
            stop=lambda: None,
            stats=self.database.stats,
            jobs=self.database,
            backups=self.database,
        )
        self.address = self._server.address

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
