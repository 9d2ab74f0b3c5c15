"""The Dockerfile names what exists; docker/test.sh tests the image itself."""

from __future__ import annotations

import re
from importlib.util import find_spec

from tests.project.tree import ROOT


def test_the_modules_that_the_dockerfile_imports_exist():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    names = re.findall(r"euclidesdb_server\.[\w.]+", dockerfile)
    assert "euclidesdb_server.app" in names
    assert not [name for name in names if find_spec(name) is None]


def test_the_files_that_the_dockerfile_copies_exist():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        source
        for arguments in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in arguments.split()[:-1]
    ]
    assert "constraints.txt" in copied
    assert not [source for source in copied if not (ROOT / source).exists()]
