"""RemoteStorage: a repository at a URL of fsspec, such as s3://bucket/folder.

Files are complete on this machine, and have been compared with their checksums, before they are
sent. What an object store has not received completely does not exist; to others a file is sent
under another name and renamed.

A URL cannot be locked. But a server makes one backup at a time, and it counts as running until its
caller is done with the repository; so let only one server use a repository.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from euclidesdb_server.backup.errors import BackupError

WHOLE: Final = ("s3", "s3a", "gs", "gcs", "az", "abfs", "memory")
"""The protocols of stores in which a file is there as a whole or not at all."""
PARALLEL: Final = 8


class RemoteStorage:
    """`Storage`, by fsspec. Credentials and addresses are those of fsspec's file systems."""

    parallel = PARALLEL

    def __init__(self, url: str) -> None:
        """Raises BackupError if fsspec, or what the protocol needs, is not installed."""
        self.place = url
        try:
            import fsspec  # noqa: PLC0415  an extra

            self._files: Any
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise BackupError(
                f"{url}: {error}; needs `pip install 'euclidesdb[backup]'`, or what fsspec names "
                "for this protocol"
            ) from error
        self._root = str(root).rstrip("/")
        self._is_whole = url.partition("://")[0] in WHOLE
        self._local: tempfile.TemporaryDirectory[str] | None = None

    @property
    def incoming(self) -> Path:
        """As `Storage.incoming`: in the folder for temporary files (TMPDIR)."""
        if self._local is None:
            self._local = tempfile.TemporaryDirectory(prefix="euclidesdb-backup-")
        return Path(self._local.name)

    def lock(self) -> None:
        """Nothing: see above."""

    def is_empty(self) -> bool:
        """As `Storage.is_empty`."""
        return not self.sizes("")

    def sizes(self, folder: str) -> Mapping[str, int]:
        """As `Storage.sizes`."""
        start = f"{self._root}/{folder}".rstrip("/")
        with self._errors(f"listing {folder or 'it'}"):
            try:
                found = self._files.find(start, detail=True)
            except FileNotFoundError:
                return {}
            root = f"{self._root}/"
            return {
                name.removeprefix(root): int(about["size"] or 0) for name, about in found.items()
            }

    def open(self, name: str) -> BinaryIO:
        """As `Storage.open`."""
        with self._errors(f"reading {name}"):
            opened: BinaryIO = self._files.open(f"{self._root}/{name}", "rb")
            return opened

    def put(self, file: Path, name: str) -> None:
        """As `Storage.put`."""
        target = f"{self._root}/{name}"
        with self._errors(f"writing {name}"):
            sent = target if self._is_whole else f"{target}.part"
            try:
                self._files.put_file(str(file), sent)
            except FileNotFoundError:  # not an object store: the folder is missing
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), sent)
            if sent != target:
                self._files.mv(sent, target)
        file.unlink()

    def delete(self, name: str) -> None:
        """As `Storage.delete`."""
        with self._errors(f"deleting {name}"):
            try:
                self._files.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return

    def sync(self) -> None:
        """Nothing: what was put is stored."""

    def close(self) -> None:
        """As `Storage.close`."""
        if self._local is not None:
            shutil.rmtree(self._local.name, ignore_errors=True)
            self._local.cleanup()
            self._local = None

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Every file system raises errors of its own."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise BackupError(f"{self.place}: {doing}: {error or type(error).__name__}") from error
