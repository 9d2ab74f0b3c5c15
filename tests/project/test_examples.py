"""The programs in examples/ run against a real server, as their docstrings say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import euclidesdb
from tests.support.images import noise
from tests.support.servers import start_server

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str) -> list[str]:
    """The lines that an example prints."""
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder with the shipped model, the examples' own, and that of own_model.py."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models" / "digits", folder / "digits")
    shutil.copytree(EXAMPLES / "models", folder, dirs_exist_ok=True)
    assert run("own_model.py", str(folder / "color"))[-1].endswith(f"--models {folder}")
    return folder


@pytest.fixture(scope="module")
def address(models, tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("data"), models, strict=True) as server:
        yield server.address


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(example):
    source = example.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40
    assert f"python examples/{example.name}" in source
    assert "euclidesdb serve" in source


def test_images_are_added_and_similar_ones_are_found(address):
    head, *neighbors = run("add_and_search.py", "--address", address)
    assert len(neighbors) == 5
    digit = head.removeprefix("The query is a ")[0]
    assert f"{{'class': {digit}}}" in neighbors[0]


def test_own_vectors_are_found_by_vector_and_by_id(address):
    nearest, *similar = run("own_vectors.py", "--address", address)
    assert nearest.startswith("nearest to the vector: green at 0.0")
    assert similar  # how many depends on the other example of this space
    assert all(line.startswith("similar to red: ") for line in similar)


def test_a_bulk_load_reports_what_was_refused(address):
    added, *refused = run("bulk_load.py", "--address", address)
    assert added == "added 10,000 vectors"
    assert [line.split(":")[0] for line in refused] == [
        f"refused item-{number}" for number in (99, 199, 299, 399, 499)
    ]


def test_the_own_model_is_served(address):
    with euclidesdb.Client(address) as db:
        (embedding,) = db.add("noise", image=noise(0, 40), models=["color"], include_vectors=True)
    assert embedding.vector.shape == (12,)
