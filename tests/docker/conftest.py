"""The image, built from a clean clone, and what is left of a test."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.engine import Container, docker
from tests.project.tree import ROOT


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone: what git has as the last commit."""
    clone = tmp_path_factory.mktemp("clone") / "euclidesdb"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    return clone


@pytest.fixture(scope="session")
def image(source: Path) -> str:
    """The image of the clone; or the one that EUCLIDESDB_IMAGE names."""
    given = os.environ.get("EUCLIDESDB_IMAGE")
    if given:
        return given
    index = os.environ.get("TORCH_INDEX")
    extra = [] if index is None else ["--build-arg", f"TORCH_INDEX={index}"]
    docker("build", "--file", source / "docker" / "Dockerfile", "--tag=euclidesdb", *extra, source)
    return "euclidesdb"


@pytest.fixture
def volume() -> Iterator[str]:
    """A new volume by its name."""
    name = docker("volume", "create", f"euclidesdb-test-{uuid.uuid4().hex[:12]}").strip()
    yield name
    docker("volume", "rm", "--force", name)


@pytest.fixture
def run(image: str, volume: str) -> Iterator[Callable[..., Container]]:
    """Starts containers of the image, on `volume` unless the options name another."""
    started = []

    def start(**options: object) -> Container:
        name = f"euclidesdb-test-{uuid.uuid4().hex[:12]}"
        container = Container(image, name, **{"volume": volume, **options})  # type: ignore[arg-type]
        started.append(container)
        return container

    yield start
    for container in started:
        container.remove()


def readable(folder: Path) -> Path:
    """A folder with all in it, readable by the image's user, who is not the one of the tests."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in folder.parents:  # pytest's own folders are closed to others
        if parent.stat().st_uid == os.getuid() and parent.is_relative_to(Path("/tmp")):
            parent.chmod(parent.stat().st_mode | 0o111)
    return folder
