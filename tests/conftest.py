"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models import save_model


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one model, `tiny`: pictures of any size, 12 features, 3 predictions."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder)
    return folder
