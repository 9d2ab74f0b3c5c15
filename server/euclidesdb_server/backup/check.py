"""Checks what a repository holds: every content is read and compared with its checksum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.manifest import ManifestFile
from euclidesdb_server.backup.repository import Repository


@dataclass(slots=True)
class Checked:
    """What was found.

    backups: how many were checked. contents, size: how many contents they have, and their bytes.
    problems: one line each; a backup with one of them cannot be restored. unneeded: contents that
    no backup has, which an interrupted one has left; the next one deletes them.
    """

    backups: int = 0
    contents: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    unneeded: int = 0


def check_repository(repository: Repository, backup_id: str | None = None) -> Checked:
    """Check all backups, or one. Raises BackupError if there is none, or not that one; OSError."""
    ids = [repository.chosen(backup_id).id] if backup_id else repository.ids()
    if not ids:
        raise BackupError(f"{repository.storage.place} has no finished backup")
    checked = Checked()
    users: dict[str, tuple[ManifestFile, list[str]]] = {}
    for each in ids:
        checked.backups += 1
        try:
            for file in repository.manifest(each).files:
                users.setdefault(file.sha256, (file, []))[1].append(each)
        except BackupError as error:
            checked.problems.append(f"backup {each}: {error}")
    stored = repository.objects()
    for file, backups in users.values():
        checked.contents += 1
        checked.size += file.size
        checked.problems += _problems(repository, file, backups)
    if backup_id is None and not checked.problems:
        checked.unneeded = len(stored.keys() - users.keys())
    return checked


def _problems(repository: Repository, file: ManifestFile, backups: Sequence[str]) -> Iterator[str]:
    try:
        for _ in repository.pieces(file):
            pass
    except (BackupError, OSError) as error:
        more = f" and {len(backups) - 1} more" if len(backups) > 1 else ""
        yield f"backup {backups[-1]}{more}: {error}"
