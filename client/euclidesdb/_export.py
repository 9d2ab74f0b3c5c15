"""`Export` and `AsyncExport`: stored items as Arrow record batches, while they arrive."""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Self, overload

from euclidesdb._arrow import optional, pyarrow
from euclidesdb._connection import Connection
from euclidesdb._operation import Awaited, Blocking, Operation, iterate, operation, run
from euclidesdb_protos.v1 import database_pb2 as pb

P = ParamSpec("P")

BUFFER_BYTES: Final = 1 << 20


class ExportBase:
    """What both have."""

    def __init__(
        self, connection: Connection, request: pb.ExportItemsRequest, timeout: float | None
    ) -> None:
        self._arrow = pyarrow()
        self._connection = connection
        self._request = request
        self._timeout = timeout

    @classmethod
    def like(cls, other: ExportBase) -> Self:
        """The same export."""
        return cls(other._connection, other._request, other._timeout)

    @operation
    async def to_arrow(self) -> Any:
        """All items, as a `pyarrow.Table`."""
        return await self._table()

    @operation
    async def to_pandas(self) -> Any:
        """All items, as a `pandas.DataFrame`; needs pandas."""
        optional("pandas", "pandas", "data frames of pandas")
        return (await self._table()).to_pandas()

    @operation
    async def to_polars(self) -> Any:
        """All items, as a `polars.DataFrame`; needs polars."""
        polars = optional("polars", "polars", "data frames of polars")
        return polars.from_arrow(await self._table())

    async def _table(self) -> Any:
        async with self.open() as batches:
            return await self._connection.offload(batches.read_all)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Batches]:
        """The batches of one call, as blocking functions."""
        connection = self._connection
        call = connection.stream("ExportItems", self._request, self._timeout)
        batches = Batches(self._arrow, connection.blocking_read(call))
        try:
            await connection.offload(batches.open)
            yield batches
        finally:
            await call.close()
            await connection.offload(batches.close)

    async def _each(self) -> AsyncGenerator[Any, None]:
        async with self.open() as batches:
            while (batch := await self._connection.offload(batches.read)) is not None:
                yield batch


class Export(ExportBase, Blocking):
    """Stored items, as `Client.export` describes them. Iterating it gives `pyarrow.RecordBatch`es.

    Each use of it is a call of its own, with the items as they are then, in the order in which they
    were first added. The batches arrive while they are used, so they take little memory.

        for batch in db.export({"price": {"$lt": 10}}):
            print(batch["id"], batch["vector:digits"])
    """

    def __iter__(self) -> Iterator[Any]:
        return iterate(self._each())

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """A `pyarrow.RecordBatchReader`, which also has the schema; for one thread."""
        opened = self.open()
        batches = run(opened.__aenter__())
        try:
            yield batches.reader
        finally:
            run(opened.__aexit__(None, None, None))


class AsyncExport(ExportBase, Awaited):
    """An `Export` that is iterated with `async for`, and whose methods are awaited."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._each()


class ExportOperation(Operation[P]):
    """An operation that returns an `Export` or an `AsyncExport`."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: Any) -> Callable[P, Export]: ...
    @overload
    def __get__(self, instance: Awaited, owner: Any) -> Callable[P, AsyncExport]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.method(instance, owner)


def exporting(function: Callable[Concatenate[Any, P], ExportBase]) -> ExportOperation[P]:
    """Makes a function that returns an `ExportBase` a method of both clients."""

    @wraps(function)
    def blocking(client: Any, *args: P.args, **kwargs: P.kwargs) -> Export:
        return Export.like(function(client, *args, **kwargs))

    @wraps(function)
    def awaited(client: Any, *args: P.args, **kwargs: P.kwargs) -> AsyncExport:
        return AsyncExport.like(function(client, *args, **kwargs))

    return ExportOperation(awaited, blocking)


class Batches:
    """The record batches of a call. A function that is given up in another thread may go on: its
    end is waited for by `close`.

    read_piece: the next reply of the call; None: there are no more.
    """

    reader: Any = None
    """A `pyarrow.RecordBatchReader`."""

    def __init__(self, arrow: Any, read_piece: Callable[[], Any]) -> None:
        self._arrow = arrow
        self._file = io.BufferedReader(_Pieces(read_piece), BUFFER_BYTES)
        self._lock = threading.Lock()

    def open(self) -> None:
        """Read the schema."""
        with self._lock:
            self.reader = self._arrow.ipc.open_stream(self._file)

    def read(self) -> Any:
        """The next batch; None: there are no more."""
        with self._lock:
            try:
                return self.reader.read_next_batch()
            except StopIteration:
                return None

    def read_all(self) -> Any:
        """All batches that are left, as a `pyarrow.Table`."""
        with self._lock:
            return self.reader.read_all()

    def close(self) -> None:
        """Close what is open."""
        with self._lock, closing(self._file):
            if self.reader is not None:
                self.reader.close()


class _Pieces(io.RawIOBase):
    """The replies to a call as a file."""

    def __init__(self, read_piece: Callable[[], Any]) -> None:
        self._read_piece = read_piece
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As that of every raw file. Raises EuclidesDBError."""
        while not self._piece:
            reply: pb.ExportItemsReply | None = self._read_piece()
            if reply is None:
                return 0
            self._piece = memoryview(reply.data)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count
