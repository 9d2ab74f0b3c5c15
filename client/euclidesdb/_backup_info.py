"""What is in a backup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from euclidesdb_protos.v1 import database_pb2 as pb


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


def backup_info(start: pb.BackupStart) -> BackupInfo:
    """The value of a message."""
    return BackupInfo(
        start.created.ToDatetime(UTC),
        start.files,
        start.bytes,
        tuple(BackedUpModel(each.name, each.folder, each.fingerprint) for each in start.models),
        dict(start.search),
        tuple(start.warnings),
        start.held_seconds,
    )
