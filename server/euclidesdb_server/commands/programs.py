"""Model folders loaded in this process, for the commands that run their programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.loading import load_program
from euclidesdb_server.worker.program import Program

MAX_IMAGE_PIXELS: Final = ModelsConfig(dir_path=Path()).max_image_pixels


def program_folder(path: Path) -> ModelFolder:
    """A model folder with a program. Raises ModelLoadError."""
    folder = read_model_folder(path)
    if not isinstance(folder, ModelFolder):
        raise ModelLoadError(f"{path}: a model with input = vector has no program to run")
    return folder


def load_folder(folder: ModelFolder, *, device: str | None, threads: int) -> Program:
    """The program, loaded and checked as a worker does it. Raises ModelLoadError.

    device: None: the first in model.conf.
    """
    device = device or folder.conf.devices[0]
    return load_program(
        load_message(folder, device=device, threads=threads, max_image_pixels=MAX_IMAGE_PIXELS)
    )


def item_bytes(folder: Path, kind: str) -> Iterator[tuple[str, bytes]]:
    """The items in a folder and their names, sorted by file.

    Each file is one item; of a text file, each line that is not empty.
    """
    for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        data = file.read_bytes()
        if kind == "text":
            for number, line in enumerate(data.splitlines(), 1):
                if line.strip():
                    yield f"{file}:{number}", line
        else:
            yield str(file), data
