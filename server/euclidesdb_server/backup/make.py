"""Makes a backup: what the server streams goes into a repository."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.manifest import BackupManifest, ManifestFile, ManifestModel
from euclidesdb_server.backup.repository import Repository

if TYPE_CHECKING:
    import euclidesdb


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is finished.

    new_files, new_bytes: contents that were not in the repository before. pruned: how many former
    backups were deleted. held_seconds: how long the server held writes.
    """

    manifest: BackupManifest
    new_files: int
    new_bytes: int
    pruned: int
    held_seconds: float


def make_backup(
    client: euclidesdb.Client,
    repository: Repository,
    *,
    keep: int | None = None,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> Made:
    """Back up the server of a client, and delete what no backup needs any more.

    keep: of the backups, only so many last ones stay. report: called with the bytes that are in the
    repository so far, and all.

    Raises EuclidesDBError, BackupError, OSError; then the backup does not exist, and the others are
    as they were. What was stored is used or deleted by the next backup.
    """
    before = repository.objects()
    known = [(bytes.fromhex(each), size) for each, size in before.items()]
    # the server counts the backup as running until this ends, so no other changes the repository
    with client.backup(known) as backup:
        info = backup.info
        report(0, info.bytes)
        files = list[ManifestFile]()
        done = 0
        with _putting(repository) as put:
            for file in backup.files():
                if not file.is_known:
                    put(_received(repository, file, len(files)), _digest(file))
                files.append(ManifestFile(file.path, file.size, _digest(file)))
                done += file.size
                report(done, info.bytes)
        manifest = BackupManifest(
            repository.free_id(info.created.strftime("%Y%m%dT%H%M%SZ")),
            info.created.isoformat(),
            files,
            [ManifestModel(each.name, each.folder, each.fingerprint) for each in info.models],
            dict(info.search),
            list(info.warnings),
        )
        _check_complete(repository, manifest)
        repository.add_backup(manifest)
        try:
            pruned, _ = repository.prune(keep)
        except (BackupError, OSError) as error:
            raise BackupError(
                f"backup {manifest.id} is complete, but nothing was deleted: {error}"
            ) from error
    new = {file.sha256: file.size for file in files if file.sha256 not in before}
    return Made(manifest, len(new), sum(new.values()), pruned, info.held_seconds)


def _received(repository: Repository, file: euclidesdb.BackupFile, number: int) -> Path:
    target = repository.storage.incoming / f"{number}"
    with target.open("wb") as stream:
        for piece in file.pieces():
            stream.write(piece)
    return target


def _digest(file: euclidesdb.BackupFile) -> str:
    if file.sha256 is None:
        raise BackupError(f"the server did not send the checksum of {file.path}")
    return file.sha256.hex()


@contextmanager
def _putting(repository: Repository) -> Iterator[Callable[[Path, str], None]]:
    """A function that stores files, several at a time; all are stored when this ends."""
    parallel = repository.storage.parallel
    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(parallel, thread_name_prefix="put") as threads:

        def put(file: Path, sha256: str) -> None:
            while len(running) >= parallel:
                running.popleft().result()
            running.append(threads.submit(repository.add_object, file, sha256))

        yield put
        while running:
            running.popleft().result()


def _check_complete(repository: Repository, manifest: BackupManifest) -> None:
    """Raise BackupError unless every content is there."""
    stored = repository.objects()
    for file in manifest.files:
        if stored.get(file.sha256) != file.size:
            raise BackupError(
                f"{repository.storage.place}: the content of {file.path} was stored, and is not "
                "there any more: does another program change this place?"
            )
