"""Where a test builds segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builder.bad_engines import python_path
from tests.builder.places import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PYTHONPATH", python_path())  # for the engines of `bad_engines`
    (tmp_path / "segments").mkdir()
    return Place(tmp_path / "segments")
