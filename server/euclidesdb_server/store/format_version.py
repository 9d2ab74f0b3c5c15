"""The version of the format on disk (FORMAT.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from euclidesdb_server.errors import DataFolderError

FORMAT_VERSION: Final = 2


def check_version(folder: Path, version: object) -> None:
    """Raise DataFolderError unless this server reads the format of a store."""
    if version not in range(1, FORMAT_VERSION + 1):
        raise DataFolderError(
            f"{folder} has format {version}, but this server reads format {FORMAT_VERSION}"
        )
