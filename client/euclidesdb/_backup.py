"""The files of a backup, as the server streams them. `euclidesdb backup` keeps them.

The server sends a reply only when it was asked for, so one that the caller has no room for never
waits on the way. Replies are asked for in advance, and a thread takes them as they arrive.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from euclidesdb._connection import Connection
from euclidesdb._errors import DataLoss, EuclidesDBError, ServerError
from euclidesdb._operation import run
from euclidesdb_protos.v1 import database_pb2 as pb

REPLIES_AHEAD: Final = 16
"""How many pieces of half a mebibyte are on their way or wait here."""
KNOWN_PER_REQUEST: Final = 50_000
CLOSE_SECONDS: Final = 30.0
"""How long the end of a complete backup may take the server."""


@dataclass(frozen=True, slots=True)
class BackedUpModel:
    """A model whose folder is in a backup. folder: its name in the models folder."""

    name: str
    folder: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class BackupInfo:
    """What is in a backup.

    created: the moment, by the server's clock. files, bytes: how many files, and how long they are
    together. search: the configuration of searches, by "[section] key". warnings: what is not in
    it, or not as it was loaded. held_seconds: how long writes waited.
    """

    created: datetime
    files: int
    bytes: int
    models: tuple[BackedUpModel, ...]
    search: Mapping[str, str]
    warnings: tuple[str, ...]
    held_seconds: float


class BackupFile:
    """A file of a backup. path: "data/..." or "models/...", with slashes. size: in bytes.

    sha256: of its bytes; set from the start if they are among those known, and otherwise once
    `pieces` has been used up.
    """

    def __init__(self, backup: Backup, message: pb.BackupFile) -> None:
        self.path: str = message.path
        self.size: int = message.size
        self.sha256: bytes | None = message.sha256 or None
        self._backup = backup

    @property
    def is_known(self) -> bool:
        """Whether the caller has its bytes; before `pieces`."""
        return self.sha256 is not None

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, as they arrive. Raises EuclidesDBError; DataLoss if they are not whole."""
        found, size = hashlib.sha256(), 0
        while (reply := self._backup.next_reply()).WhichOneof("part") == "data":
            found.update(reply.data)
            size += len(reply.data)
            yield reply.data
        if reply.WhichOneof("part") != "end":
            raise ServerError(f"the backup has no end of {self.path}", "server_error")
        if found.digest() != reply.end.sha256 or size != self.size:
            raise DataLoss(f"{self.path} was changed on its way", "data_loss")
        self.sha256 = found.digest()


class Backup:
    """A backup that is being made; a context manager. For one thread.

    info: what is in it. Until it is closed, no other backup of the server can begin.
    """

    info: BackupInfo

    def __init__(
        self, connection: Connection, known: Collection[tuple[bytes, int]], timeout: float | None
    ) -> None:
        self._known = known
        self._requests: queue.SimpleQueue[pb.BackupRequest | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = connection.stream("Backup", self._sent(), timeout)
        self._thread = threading.Thread(target=self._receive, name="backup", daemon=True)
        self._is_complete = False
        self._thread.start()
        try:
            self.info = _info(self.next_reply().start)
        except BaseException:
            self.close()
            raise

    def files(self) -> Iterator[BackupFile]:
        """Its files. The pieces of each must be used up before the next one.

        Raises EuclidesDBError; when this ends without an error, the backup is complete.
        """
        while (reply := self.next_reply()).WhichOneof("part") == "file":
            yield BackupFile(self, reply.file)
        if reply.WhichOneof("part") != "done":
            raise ServerError("the backup is out of step", "server_error")
        self._is_complete = True

    def next_reply(self) -> pb.BackupReply:
        """The next reply; one more is asked for. Raises EuclidesDBError."""
        reply = self._replies.get()
        if isinstance(reply, EuclidesDBError):
            self._replies.put(reply)
            raise reply
        self._requests.put(pb.BackupRequest(replies=1))
        return cast("pb.BackupReply", reply)

    def close(self) -> None:
        """Let the server release the files. May be called again.

        After a complete backup, another one can begin when this returns.
        """
        self._requests.put(None)
        if self._is_complete:
            self._thread.join(CLOSE_SECONDS)  # until the server has ended the call
        run(self._call.close())
        self._thread.join()

    def __enter__(self) -> Backup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sent(self) -> Iterator[pb.BackupRequest]:
        """In gRPC's thread."""
        request = pb.BackupRequest()
        for sha256, size in self._known:
            request.known.add(sha256=sha256, size=size)
            if len(request.known) == KNOWN_PER_REQUEST:
                yield request
                request = pb.BackupRequest()
        request.begin, request.replies = True, REPLIES_AHEAD
        yield request
        while (request_more := self._requests.get()) is not None:
            yield request_more

    def _receive(self) -> None:
        """In a thread of its own: what has been asked for is taken at once."""
        try:
            while (reply := run(self._call.read())) is not None:
                self._replies.put(reply)
            self._replies.put(ServerError("the backup ended early", "server_error"))
        except EuclidesDBError as error:
            self._replies.put(error)


class Backups:
    """A part of `Client`, which has the connection."""

    _connection: Connection

    def backup(
        self, known: Collection[tuple[bytes, int]] = (), *, timeout: float | None = None
    ) -> Backup:
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
        connection = self._connection
        connection.check_open()
        seconds = connection.stream_timeout(timeout)
        return Backup(connection, known, seconds)


def _info(start: pb.BackupStart) -> BackupInfo:
    return BackupInfo(
        start.created.ToDatetime(UTC),
        start.files,
        start.bytes,
        tuple(BackedUpModel(each.name, each.folder, each.fingerprint) for each in start.models),
        dict(start.search),
        tuple(start.warnings),
        start.held_seconds,
    )
