"""Make files and folders durable."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Write a file's bytes, or a folder's entries, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents so that they survive a power failure.

    Raises OSError.
    """
    missing = [folder, *folder.parents]
    missing = missing[: next(n for n, each in enumerate(missing) if each.is_dir())]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync(each.parent)
