"""A database of ready-made vectors; a registry with two tiny models, started once a module."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.inference import ModelRegistry
from tests.support.assembled import EMBEDDERS, Database, no_models
from tests.support.models import save_model


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Two models, `one` of two numbers and `two` of three; no worker."""
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2, "two": 3}) as made:
        yield made


@pytest.fixture(scope="package")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    """`color` (12 features) and `gray` (4), both of images, with 3 predictions each.

    The labels of those of `color` are known.
    """
    folder = tmp_path_factory.mktemp("models")
    save_model(folder, "color", worker="shared", labels="red\n green\n blue")
    save_model(folder, "gray", worker="shared", feature_dim=4, image_mode="L")
    models = ModelRegistry(ModelsConfig(dir_path=folder, worker_threads=1))
    try:
        models.wait_until_tried(threading.Event())
        yield models
    finally:
        models.close()


@pytest.fixture
def embedding_database(tmp_path: Path, registry: ModelRegistry) -> Iterator[Database]:
    """The models of `registry`, and `given`, of two numbers, for ready-made vectors."""
    with Database(tmp_path, registry, {**EMBEDDERS, "given": 2}) as made:
        yield made
