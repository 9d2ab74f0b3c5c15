"""The call of the v1 API that streams the files of a backup."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Final, cast

from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.backups import Backup, Backups, SourceFile
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import DeadlineExceeded, InvalidRequest
from euclidesdb_server.rpc.request_stream import RequestStream

IDLE_SECONDS: Final = 600.0
"""A caller that asks for nothing for so long is given up: its backup keeps files from being
deleted."""
DIGEST_BYTES: Final = 32
MAX_KNOWN: Final = 4_000_000


async def backup_stream(
    backups: Backups, stream: RequestStream, *, idle_seconds: float = IDLE_SECONDS
) -> AsyncGenerator[pb.BackupReply, None]:
    """The replies to one `Backup` call."""
    asked = _Asked(stream, idle_seconds)
    known = await asked.known()
    backup = backups.begin()
    try:
        await asked.for_one()
        yield pb.BackupReply(start=_start(backup))
        for file in backup.files:
            async for reply in _replies(backup, file, known):
                await asked.for_one()
                yield reply
        await asked.for_one()
        yield pb.BackupReply(done=pb.BackupDone())
        await asked.end()
    finally:
        backup.close()


class _Asked:
    """What the caller has, and how many replies it has asked for."""

    def __init__(self, stream: RequestStream, idle_seconds: float) -> None:
        self._stream = stream
        self._idle_seconds = idle_seconds
        self._replies = 0

    async def known(self) -> dict[int, set[bytes]]:
        """The digests of what the caller has, by size."""
        known = defaultdict[int, set[bytes]](set)
        count, begins = 0, False
        while not begins:
            request = await self._next()
            if request is None:
                raise InvalidRequest("the call ended before `begin` was set")
            count += len(request.known)
            if count > MAX_KNOWN:
                raise InvalidRequest(f"there are more than {MAX_KNOWN:,} known files")
            for each in request.known:
                if len(each.sha256) != DIGEST_BYTES:
                    raise InvalidRequest(
                        f"known.sha256 has {len(each.sha256)} bytes, not {DIGEST_BYTES}"
                    )
                known[each.size].add(each.sha256)
            begins = request.begin
        return known

    async def for_one(self) -> None:
        """Use up one of the replies that were asked for; wait for it if there is none."""
        while not self._replies:
            if await self._next() is None:
                raise InvalidRequest("the call ended before the backup was complete")
        self._replies -= 1

    async def end(self) -> None:
        """Wait until the caller ends the call."""
        while await self._next() is not None:
            pass

    async def _next(self) -> pb.BackupRequest | None:
        """The next request; None: there is none. Raises DeadlineExceeded."""
        while (taken := self._stream.take()) is None:
            if self._stream.is_over():
                return None
            arrival = self._stream.arrival()
            await Wait(arrival, self._idle_seconds)
            if not arrival.done():
                raise DeadlineExceeded(
                    f"the backup was given up: its caller asked for nothing for "
                    f"{self._idle_seconds:g} seconds"
                )
        request, size = taken
        self._stream.finished(size)
        self._replies += request.replies
        return cast("pb.BackupRequest", request)


async def _replies(
    backup: Backup, file: SourceFile, known: dict[int, set[bytes]]
) -> AsyncIterator[pb.BackupReply]:
    """The replies for one file. Nothing is read that cannot be known, by its size."""
    if file.size in known:
        for digest in backup.digest(file):
            if digest is None:
                await Wait(Future(), 0)  # others have a turn, and the caller may have left
            elif digest in known[file.size]:
                unchanged = pb.BackupFile(path=file.path, size=file.size, sha256=digest)
                yield pb.BackupReply(file=unchanged)
                return
    yield pb.BackupReply(file=pb.BackupFile(path=file.path, size=file.size))
    reading = backup.read(file)
    for piece in reading.pieces():
        yield pb.BackupReply(data=piece)
    yield pb.BackupReply(end=pb.BackupFileEnd(sha256=reading.digest))


def _start(backup: Backup) -> pb.BackupStart:
    created = Timestamp()
    created.FromNanoseconds(int(backup.created * 1e9))
    return pb.BackupStart(
        created=created,
        files=len(backup.files),
        bytes=_total(backup.files),
        models=[
            pb.BackupModel(name=each.name, folder=each.folder, fingerprint=each.fingerprint)
            for each in backup.models
        ],
        search=backup.search,
        warnings=backup.warnings,
        held_seconds=backup.held_seconds,
    )


def _total(files: Sequence[SourceFile]) -> int:
    return sum(file.size for file in files)
