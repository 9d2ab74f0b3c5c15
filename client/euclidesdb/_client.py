"""`Client` and `AsyncClient`: two ways to call the same operations.

The operations are in `_add_calls`, `_item_calls`, `_item_queries`, `_search_calls`, `_model_calls`,
`_job_calls`, `_transfers` and `_backup`; `_operation` says how one is added.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from euclidesdb._add_calls import AddCalls
from euclidesdb._awaited import AwaitedConnection
from euclidesdb._backup import Backups
from euclidesdb._blocking import BlockingConnection
from euclidesdb._channel import DEFAULT_RETRIES, Target
from euclidesdb._connection import Connection
from euclidesdb._credentials import Credentials, PemFile
from euclidesdb._item_calls import ItemCalls
from euclidesdb._item_queries import ItemQueries
from euclidesdb._job_calls import JobCalls
from euclidesdb._model_calls import ModelCalls
from euclidesdb._operation import Awaited, Blocking, operation
from euclidesdb._search_calls import SearchCalls
from euclidesdb._transfers import Transfers


class Operations(
    AddCalls, ItemCalls, ItemQueries, SearchCalls, ModelCalls, JobCalls, Transfers, Backups
):
    """All that both clients have."""

    _connection: Connection

    @property
    def target(self) -> str:
        """Where it connects, as it was given."""
        return self._connection.target.given

    def __reduce__(self) -> tuple[Any, ...]:
        connection = self._connection
        options = {
            "timeout": connection.timeout,
            "retries": connection.target.retries,
            **connection.target.credentials.options(),
        }
        return partial(cast("Any", type(self)), self.target, **options), ()

    def __repr__(self) -> str:
        connection = self._connection
        name, target = type(self).__name__, self.target
        closed = ", closed" if connection.is_closed else ""
        return f"<euclidesdb.{name} of {target!r}, timeout {connection.timeout}{closed}>"

    @operation
    async def close(self) -> None:
        """Close the connection; calls in progress end with Cancelled. May be called again."""
        await self._connection.close()


class Client(Operations, Blocking):
    """A connection to a EuclidesDB server. Threads may share it; close it, or use `with`.

    target: "host:port", "[::1]:port" or "unix:path"; the default port is 50000. None: what the
        environment variable EUCLIDESDB_ADDRESS says, or else "127.0.0.1:50000". Nothing is sent
        before the first call, so a wrong address shows only then.
    timeout: seconds that a call may take, retries included; None: no limit. Every method accepts
        its own. `add_many`, `add_vectors`, `import_file`, `get_many`, `remove_many` and
        `find_similar_many` may make several calls; their timeout applies to each of these, and
        defaults to ten times the client's, as each does the work of many. The same default applies
        to loading and unloading models. Streams (`add_stream`, `export`) have no limit by default.
    retries: how often a call that is safe to repeat is repeated while the server is unavailable,
        0 to 4. The three by default bridge about two seconds.

    tls: whether the connection is encrypted. None: if `ca` or `cert` is given, or the environment
        variable EUCLIDESDB_TLS is 1 or one of those below is set. False: never.
    ca: the authorities that the server's certificate must come from: a PEM file, or its bytes;
        None: EUCLIDESDB_TLS_CA, or else the public ones, which gRPC brings.
    cert, key: the client's own certificate and its private key, likewise, for a server that wants
        one; None: EUCLIDESDB_TLS_CERT, EUCLIDESDB_TLS_KEY, or else none.
    api_key: sent with every call; None: EUCLIDESDB_API_KEY, or else none. "": none.

    Every method may raise the errors of `EuclidesDBError`'s tree, and ValueError or TypeError
    for arguments that cannot be sent.

    A copy of a client, also a pickled one, is a new client of the same target and options; what
    is pickled contains the API key and the private key. Nothing that is printed does. A process
    that was forked connects anew.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float | None = 30.0,
        retries: int = DEFAULT_RETRIES,
        tls: bool | None = None,
        ca: PemFile | None = None,
        cert: PemFile | None = None,
        key: PemFile | None = None,
        api_key: str | None = None,
    ) -> None:
        credentials = Credentials.of(tls=tls, ca=ca, cert=cert, key=key, api_key=api_key)
        self._connection = BlockingConnection(Target.of(target, retries, credentials), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(Operations, Awaited):
    """A `Client` whose methods are awaited: `await db.get("sku-1")`. Use `async with`, or close it.

    What `Client` returns as an iterator is iterated with `async for`; `add_many` and `add_stream`
    take asynchronous iterables, too. A task that is cancelled cancels its call. Files are read and
    images encoded in other threads; other iterables of items are iterated by the event loop.

    The arguments, errors and copies are those of `Client`. Each event loop that uses it opens a
    connection of its own. In a process that was forked from one that has used an AsyncClient, its
    calls raise RuntimeError, as gRPC does not serve asyncio there.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float | None = 30.0,
        retries: int = DEFAULT_RETRIES,
        tls: bool | None = None,
        ca: PemFile | None = None,
        cert: PemFile | None = None,
        key: PemFile | None = None,
        api_key: str | None = None,
    ) -> None:
        credentials = Credentials.of(tls=tls, ca=ca, cert=cert, key=key, api_key=api_key)
        self._connection = AwaitedConnection(Target.of(target, retries, credentials), timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
