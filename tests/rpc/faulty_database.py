"""A database whose every call raises the error that the test sets, served like a real one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, cast

import grpc

from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from euclidesdb_protos.v1 import database_pb2_grpc
from euclidesdb_server.rpc.interceptor import ErrorInterceptor
from euclidesdb_server.rpc.legacy import SimilarService
from euclidesdb_server.rpc.v1 import FeatureDatabaseService


class FaultyDatabase:
    """Replaces a FeatureDatabase, for faults that a real one shows only by chance."""

    def __init__(self) -> None:
        self.fault: Exception = NotImplementedError()

    def _fail(self, *_: Any, **__: Any) -> NoReturn:
        raise self.fault

    add = get = remove = find_similar = list_models = compact = load = unload = drop = _fail


class FaultyServer:
    """Both services over a FaultyDatabase, at `address`."""

    def __init__(self) -> None:
        self.database = cast(Any, FaultyDatabase())  # the services use only its calls
        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool, interceptors=[ErrorInterceptor()])
        add_v1: Any = database_pb2_grpc.add_FeatureDatabaseServicer_to_server
        service = FeatureDatabaseService(self.database, self.database, may_change_models=True)
        add_v1(service, self._server)
        add_legacy: Any = euclidesproto_pb2_grpc.add_SimilarServicer_to_server
        legacy = SimilarService(self.database, lambda: None, may_stop=True, may_refresh=True)
        add_legacy(legacy, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()
