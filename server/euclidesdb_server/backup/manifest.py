"""BackupManifest: the list of the files of one backup, with their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from euclidesdb_server.backup.errors import BackupError

FORMAT_VERSION: Final = 1
ID: Final = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
DATA: Final = "data/"
MODELS: Final = "models/"
RESTORING: Final = "restoring.tmp"
"""Where a restore writes files first."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file. path: begins with "data/" or "models/". sha256: in hexadecimal. size: in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestModel:
    """A model whose folder is in the backup. folder: its name in the models folder."""

    name: str
    folder: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """One backup.

    id: its time in UTC, "20260131T235959Z". created: the same as ISO 8601. search: the
    configuration of searches, by "[section] key". warnings: what is not in it, or not as it was
    loaded.
    """

    id: str
    created: str
    files: Sequence[ManifestFile]
    models: Sequence[ManifestModel]
    search: Mapping[str, str]
    warnings: Sequence[str]

    @property
    def size(self) -> int:
        """How long the files are together."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """JSON, with the checksum of the rest as its last field."""
        fields = {"format": FORMAT_VERSION, **asdict(self)}
        return json.dumps({**fields, "sha256": _digest(fields)}).encode()


def manifest_of(data: bytes, where: str) -> BackupManifest:
    """Read a manifest. where: for messages. Raises BackupError."""
    try:
        fields: dict[str, Any] = json.loads(data)
        digest = fields.pop("sha256")
        if fields["format"] != FORMAT_VERSION and isinstance(fields["format"], int):
            raise BackupError(
                f"{where} has format {fields['format']}, but this program reads format "
                f"{FORMAT_VERSION}: use a newer one"
            )
        if digest != _digest(fields):
            raise BackupError(f"{where} is damaged: it fails its checksum")
        fields.pop("format")
        files = [ManifestFile(**each) for each in fields.pop("files")]
        models = [ManifestModel(**each) for each in fields.pop("models")]
        manifest = BackupManifest(files=files, models=models, **fields)
        _check_types(manifest)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BackupError(f"{where} is damaged: {error}") from error
    for file in files:
        if not _is_safe(file):
            raise BackupError(f"{where} names a file {file.path!r}, which is not in a backup")
    return manifest


def _check_types(manifest: BackupManifest) -> None:
    """Raise TypeError or ValueError for a field that cannot be what it is to be."""
    texts: list[object] = [manifest.id, manifest.created, *manifest.search, *manifest.warnings]
    texts += manifest.search.values()
    texts += [text for each in manifest.models for text in asdict(each).values()]
    texts += [text for each in manifest.files for text in (each.path, each.sha256)]
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is not a string")
    for each in manifest.files:
        os.fsencode(each.path)
        if type(each.size) is not int or each.size < 0:
            raise TypeError(f"{each.size!r} is not a size in bytes")


def _is_safe(file: ManifestFile) -> bool:
    """Whether a path stays in its folder, and the checksum is one: a repository may be hostile."""
    parts = PurePosixPath(file.path).parts
    return (
        file.path.startswith((DATA, MODELS))
        and len(parts) > 1
        and ".." not in parts
        and parts[1] != RESTORING
        and "\0" not in file.path
        and file.path == "/".join(parts)
        and _DIGEST.fullmatch(file.sha256) is not None
    )


def _digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
