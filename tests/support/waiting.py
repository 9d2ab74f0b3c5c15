"""Waiting for something that only shows itself to those who look: a file, another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Look until the condition holds; fails, saying `what` did not happen, after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.01)


def generations(data: Path) -> list[int]:
    """The numbers of the finished segments in a data folder of one space."""
    manifests = data.glob("segments/*/*/manifest.json")
    return [int(file.parent.name) for file in manifests if file.parent.name.isdecimal()]
