"""The pinned packages can be installed on every Python that the project supports."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def test_every_pinned_package_takes_the_oldest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        canonicalize_name(Requirement(line).name) for line in lines if line and line[0] != "#"
    }
    too_new = {
        distribution.name: wanted
        for distribution in distributions()
        if canonicalize_name(distribution.name) in pinned
        and (wanted := distribution.metadata["Requires-Python"])
        and oldest not in SpecifierSet(wanted)
    }
    assert not too_new
