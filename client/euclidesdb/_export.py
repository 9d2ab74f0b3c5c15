"""`Export`: stored items as Arrow record batches, while they arrive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import grpc

from euclidesdb._arrow import optional, pyarrow
from euclidesdb._connection import Connection, StartedStream
from euclidesdb_protos.v1 import database_pb2 as pb

BUFFER_BYTES: Final = 1 << 20


class Export:
    """Stored items, as `Client.export` describes them. Iterating it gives `pyarrow.RecordBatch`es.

    Each use of it is a call of its own, with the items as they are then, in the order in which they
    were first added. The batches arrive while they are used, so they take little memory.

        for batch in db.export({"price": {"$lt": 10}}):
            print(batch["id"], batch["vector:digits"])
    """

    def __init__(
        self, connection: Connection, request: pb.ExportItemsRequest, timeout: float | None
    ) -> None:
        self._arrow = pyarrow()
        self._connection = connection
        self._request = request
        self._timeout = timeout

    def __iter__(self) -> Iterator[Any]:
        with self.reader() as reader:
            yield from reader

    def to_arrow(self) -> Any:
        """All items, as a `pyarrow.Table`."""
        with self.reader() as reader:
            return reader.read_all()

    def to_pandas(self) -> Any:
        """All items, as a `pandas.DataFrame`; needs pandas."""
        optional("pandas", "pandas", "data frames of pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """All items, as a `polars.DataFrame`; needs polars."""
        return optional("polars", "polars", "data frames of polars").from_arrow(self.to_arrow())

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """A `pyarrow.RecordBatchReader`, which also has the schema; for one thread."""
        connection = self._connection
        call = connection.start_stream(connection.stub.ExportItems, self._request, self._timeout)
        try:
            with (
                io.BufferedReader(_Pieces(connection, call), BUFFER_BYTES) as file,
                closing(self._arrow.ipc.open_stream(file)) as reader,
            ):
                yield reader
        finally:
            call.cancel()


class _Pieces(io.RawIOBase):
    """The replies to a call as a file."""

    def __init__(self, connection: Connection, call: StartedStream) -> None:
        self._connection = connection
        self._call = call
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As that of every raw file. Raises EuclidesDBError."""
        while not self._piece:
            try:
                reply: pb.ExportItemsReply = next(self._call)
            except StopIteration:
                return 0
            except grpc.RpcError as error:
                raise self._connection.failure(error) from error
            self._piece = memoryview(reply.data)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count
