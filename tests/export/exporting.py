"""Exports, run as the command line runs them, and what the folders that they make answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.loading import load_program
from tests.support.late_import import LateImport

command = LateImport("euclidesdb_server.commands.model_export")  # which imports transformers


def export(source: Path | str, folder: Path, **options: object) -> int:
    defaults = {"name": None, "seed": None, "tower": None, "pooling": None}
    given = {**defaults, "program_format": "torchscript", **options}
    code: int = command.run(source=str(source), folder=folder, **given)
    return code


def answers(folder: Path, items: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and features of items that share a batch, as a worker gives them."""
    model = read_model_folder(folder)
    assert isinstance(model, ModelFolder)
    message = load_message(
        model,
        device="cpu",
        threads=torch.get_num_threads(),
        max_image_pixels=1 << 24,
    )
    program = load_program(message)
    features, predictions = program.forward([program.inputs.decode(item) for item in items])
    return predictions.numpy(), features.numpy()
