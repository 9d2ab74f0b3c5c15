"""The project's own text files: what git tracks, and new files that it does not ignore."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path("tests/store/formats")
"""Databases of every format."""


def project_files() -> list[Path]:
    """Relative to `ROOT`, sorted; files deleted but still tracked are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = sorted({name for name in listed.split("\0") if name})
    return [Path(name) for name in names if (ROOT / name).is_file()]


def written_texts() -> dict[Path, str]:
    """The text of each file that people write: neither binary, nor generated, nor the license."""
    texts = {}
    for path in project_files():
        content = (ROOT / path).read_bytes()
        if path.is_relative_to(KEPT) and path.suffix != ".py":
            continue  # as programs wrote it
        if path.name != "LICENSE" and "_pb2" not in path.name and b"\0" not in content:
            texts[path] = content.decode("utf-8")
    return texts
