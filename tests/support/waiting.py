"""Waiting for a condition that can only be polled: a file, another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], what: str, timeout: float = 100.0) -> None:
    """Poll until the condition holds; after `timeout` seconds, fail and name `what`.

    The timeout only ends a hang: it is long, so that a loaded machine does not fail a test.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.01)


def generations(data: Path) -> list[int]:
    """The numbers of the finished segments in a data folder of one space."""
    manifests = data.glob("segments/*/*/manifest.json")
    return [int(file.parent.name) for file in manifests if file.parent.name.isdecimal()]
