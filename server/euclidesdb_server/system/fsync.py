"""Taking files and folders to disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Take a file's bytes, or the names in a folder, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they survive a power cut. Raises OSError."""
    missing = [folder, *folder.parents]
    missing = missing[: next(n for n, each in enumerate(missing) if each.is_dir())]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync(each.parent)
