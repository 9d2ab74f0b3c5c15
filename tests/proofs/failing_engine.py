"""A search engine of another package that fails in the builder process as a test tells it to.

In the server it works: there it only loads segments and searches them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from euclidesdb_server.values.arrays import Matrix
from tests.builder.bad_engines import BadEngine, BadSegment


@dataclass(frozen=True, slots=True)
class FailingOptions:
    """failure: a file with what goes wrong in builds from now on, as in `BadOptions.how`."""

    failure: Path = Path()
    folder: ClassVar[Path] = Path()
    names: ClassVar[tuple[str, ...]] = ()

    @property
    def how(self) -> str:
        in_builder = sys.modules["__main__"].__package__ == "euclidesdb_server.builder"
        return self.failure.read_text() if in_builder else ""


class FailingEngine(BadEngine):
    """`ExactEngine`, but for what goes wrong."""

    name: ClassVar[str] = "failing"
    Options: Any = FailingOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.options = options or FailingOptions()

    def build(self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None) -> BadSegment:
        if self.options.how == "damages a file after its report":
            _after_the_report(lambda: _damage(folder))
        if self.options.how == "cuts a file off after its report":
            _after_the_report(lambda: _cut_off(folder))
        return super().build(vectors, threads=threads, folder=folder)


def install(folder: Path) -> None:
    """Make a folder in which an installed package offers the engine."""
    about = folder / "failing-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[euclidesdb.engines]\nfailing = {__name__}:{FailingEngine.__name__}\n"
    )


def _after_the_report(harm: Callable[[], None]) -> None:
    """Do harm when the files are summed up, as the process writes its result."""
    system: Any = os
    write = os.write

    def harm_and_write(descriptor: int, content: bytes) -> int:
        harm()
        system.write = write
        return write(descriptor, content)

    system.write = harm_and_write


def _damage(folder: Path | None) -> None:
    assert folder is not None
    labels = folder / "labels.i64"
    content = bytearray(labels.read_bytes())
    content[len(content) // 2] ^= 1
    labels.write_bytes(content)


def _cut_off(folder: Path | None) -> None:
    assert folder is not None
    labels = folder / "labels.i64"
    labels.write_bytes(labels.read_bytes()[:-1])
