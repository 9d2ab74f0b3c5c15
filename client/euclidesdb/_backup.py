"""The files of a backup, as the server streams them. `euclidesdb backup` keeps them.

The server sends a reply only when it was asked for, so one that the caller has no room for never
waits on the way. Replies are asked for in advance, and a thread or task takes them as they arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterator,
)
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

from euclidesdb._backup_info import BackupInfo, backup_info
from euclidesdb._connection import Connection, Queue
from euclidesdb._errors import DataLoss, ServerError
from euclidesdb._operation import Awaited, Blocking, Operation, iterate, run
from euclidesdb_protos.v1 import database_pb2 as pb

P = ParamSpec("P")
F = TypeVar("F", bound="_File")

REPLIES_AHEAD: Final = 16
"""How many pieces of half a mebibyte are on their way or wait here."""
KNOWN_PER_REQUEST: Final = 50_000
CLOSE_SECONDS: Final = 30.0
"""How long the end of a complete backup may take the server."""


class _File:
    """A file of a backup. path: "data/..." or "models/...", with slashes. size: in bytes.

    sha256: of its bytes; set from the start if they are among those known, and otherwise once
    `pieces` has been used up.
    """

    def __init__(self, parts: _Parts[Any], message: pb.BackupFile) -> None:
        self.path: str = message.path
        self.size: int = message.size
        self.sha256: bytes | None = message.sha256 or None
        self._parts = parts

    @property
    def is_known(self) -> bool:
        """Whether the caller has its bytes; before `pieces`."""
        return self.sha256 is not None

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        found, size = hashlib.sha256(), 0
        while (reply := await self._parts.next_reply()).WhichOneof("part") == "data":
            found.update(reply.data)
            size += len(reply.data)
            yield reply.data
        if reply.WhichOneof("part") != "end":
            raise ServerError(f"the backup has no end of {self.path}", "server_error")
        if found.digest() != reply.end.sha256 or size != self.size:
            raise DataLoss(f"{self.path} was changed on its way", "data_loss")
        self.sha256 = found.digest()


class BackupFile(_File):
    __doc__ = _File.__doc__

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, as they arrive. Raises EuclidesDBError; DataLoss if they are not whole."""
        return iterate(self._pieces())


class AsyncBackupFile(_File):
    """A `BackupFile` of an `AsyncBackup`."""

    def pieces(self) -> AsyncIterator[bytes]:
        """As `BackupFile.pieces`."""
        return self._pieces()


class _Parts(Generic[F]):
    """What both kinds of backup have. info: what is in it."""

    info: BackupInfo

    def __init__(
        self, connection: Connection, known: Collection[tuple[bytes, int]], timeout: float | None
    ) -> None:
        self._known = known
        self._requests: Queue[pb.BackupRequest | None] = connection.queue()
        self._replies: Queue[Any] = connection.queue()
        self._call = connection.stream("Backup", self._sent(), timeout)
        self._receiving = connection.background("backup", self._receive())
        self._is_complete = False

    @classmethod
    async def begun(
        cls, connection: Connection, known: Collection[tuple[bytes, int]], timeout: float | None
    ) -> Self:
        """A backup whose `info` has arrived."""
        made = cls(connection, known, timeout)
        try:
            made.info = backup_info((await made.next_reply()).start)
        except BaseException:
            await made.end()
            raise
        return made

    async def next_reply(self) -> pb.BackupReply:
        """The next reply; one more is asked for. Raises EuclidesDBError."""
        reply = await self._replies.get()
        if isinstance(reply, Exception):
            self._replies.put(reply)
            raise reply
        self._requests.put(pb.BackupRequest(replies=1))
        return cast("pb.BackupReply", reply)

    async def end(self) -> None:
        """Let the server release the files. May be called again.

        After a complete backup, another one can begin when this returns.
        """
        self._requests.put(None)
        if self._is_complete:
            await self._receiving.join(CLOSE_SECONDS)  # until the server has ended the call
        await self._call.close()
        await self._receiving.join(None)

    async def _files(self, kind: type[F]) -> AsyncGenerator[F, None]:
        while (reply := await self.next_reply()).WhichOneof("part") == "file":
            yield kind(self, reply.file)
        if reply.WhichOneof("part") != "done":
            raise ServerError("the backup is out of step", "server_error")
        self._is_complete = True

    async def _sent(self) -> AsyncGenerator[pb.BackupRequest, None]:
        request = pb.BackupRequest()
        for sha256, size in self._known:
            request.known.add(sha256=sha256, size=size)
            if len(request.known) == KNOWN_PER_REQUEST:
                yield request
                request = pb.BackupRequest()
        request.begin, request.replies = True, REPLIES_AHEAD
        yield request
        while (request_more := await self._requests.get()) is not None:
            yield request_more

    async def _receive(self) -> None:
        """What has been asked for is taken at once."""
        try:
            while (reply := await self._call.read()) is not None:
                self._replies.put(reply)
            self._replies.put(ServerError("the backup ended early", "server_error"))
        except Exception as error:  # whatever it is, the caller must get it
            self._replies.put(error)


class Backup(_Parts[BackupFile]):
    """A backup that is being made; a context manager. For one thread.

    info: what is in it. Until it is closed, no other backup of the server can begin.
    """

    def files(self) -> Iterator[BackupFile]:
        """Its files. The pieces of each must be used up before the next one.

        Raises EuclidesDBError; when this ends without an error, the backup is complete.
        """
        return iterate(self._files(BackupFile))

    def close(self) -> None:
        """Let the server release the files. May be called again.

        After a complete backup, another one can begin when this returns.
        """
        run(self.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncBackup(_Parts[AsyncBackupFile]):
    """A `Backup` for `async with`: `async with await db.backup() as backup: ...`."""

    def files(self) -> AsyncIterator[AsyncBackupFile]:
        """As `Backup.files`."""
        return self._files(AsyncBackupFile)

    async def close(self) -> None:
        """As `Backup.close`."""
        await self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()


_Arguments = tuple[Connection, Collection[tuple[bytes, int]], float | None]


class BackupOperation(Operation[P]):
    """An operation that returns a `Backup` or an `AsyncBackup`."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: Any) -> Callable[P, Backup]: ...
    @overload
    def __get__(
        self, instance: Awaited, owner: Any
    ) -> Callable[P, Coroutine[Any, Any, AsyncBackup]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.method(instance, owner)


def _beginning(function: Callable[Concatenate[Any, P], _Arguments]) -> BackupOperation[P]:
    """Makes a function that returns the arguments of a backup a method of both clients."""

    @wraps(function)
    def blocking(client: Any, *args: P.args, **kwargs: P.kwargs) -> Backup:
        return run(Backup.begun(*function(client, *args, **kwargs)))

    @wraps(function)
    async def awaited(client: Any, *args: P.args, **kwargs: P.kwargs) -> AsyncBackup:
        return await AsyncBackup.begun(*function(client, *args, **kwargs))

    return BackupOperation(awaited, blocking)


class Backups:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @_beginning
    def backup(
        self, known: Collection[tuple[bytes, int]] = (), *, timeout: float | None = None
    ) -> _Arguments:
        """Begin a backup: the database and its models' folders, as they are now.

        `euclidesdb backup` is the program for it; this is for those who keep the files in a way of
        their own.

            with db.backup() as backup:
                for file in backup.files():
                    keep(file.path, b"".join(file.pieces()))

        known: SHA-256 and size of each content that need not be sent; its files have `is_known`.
        timeout: seconds for all of it; None: no limit.

        Raises BackupInProgress, DiskFull, Unavailable.
        """
        self._connection.check_open()
        return self._connection, known, self._connection.stream_timeout(timeout)
