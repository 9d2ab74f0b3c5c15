"""The resources that a process and a folder use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Footprint:
    """The footprint of a process at one moment.

    memory: private resident bytes: not the pages of mapped files, which the system can reclaim.
    files: open descriptors, sockets included. maps: memory regions, mapped files included.
    """

    memory: int
    threads: int
    files: int
    maps: int

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**20:.1f} MiB, {self.threads} threads, {self.files} files, "
            f"{self.maps} maps"
        )


def footprint(process: psutil.Process) -> Footprint:
    about = process.memory_info()
    return Footprint(
        memory=about.rss - about.shared,
        threads=process.num_threads(),
        files=process.num_fds(),
        maps=len(process.memory_maps(grouped=False)),
    )


def disk_use(folder: Path) -> int:
    """The bytes that the files in a folder use on disk."""
    used = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # files are created and deleted meanwhile
                used += Path(parent, name).stat().st_blocks * 512
    return used


def peak(readings: Sequence[Footprint]) -> Footprint:
    """The maximum of each reading."""
    return Footprint(
        memory=max(each.memory for each in readings),
        threads=max(each.threads for each in readings),
        files=max(each.files for each in readings),
        maps=max(each.maps for each in readings),
    )
