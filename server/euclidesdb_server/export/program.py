"""The program of a subject: written by torch.export or TorchScript, and checked as it is served.

The check loads the program as a worker does, decodes sample items with the worker's own code, and
compares pixels or tokens, and the outputs, with those of the original.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.export.subject import ExportError, ProgramOutput, Subject, foreign
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.loading import load_program
from euclidesdb_server.worker.program import Outputs, Program

FILES: Final = {"pt2": "program.pt2", "torchscript": "program.pt"}
"""By format. Unlike the model's name, these are valid file names on every file system."""

TOLERANCE: Final = 1e-4
"""Between the program's outputs and the original's; relative to the largest value if above 1."""

PIXEL_TOLERANCE: Final = 1.0
"""Levels of 255, on average over an image: libraries round differently. For noise, bicubic and
bilinear resizing differ by 14 levels; the two most similar ways of resizing by 6."""


@torch.no_grad()
def write_program(subject: Subject, path: Path) -> None:
    """Write the program in the format of `path`'s suffix. Raises ExportError."""
    # warnings: transformers' own checks of values that are constant here; torch's deprecations
    with foreign("torch cannot export it"), warnings.catch_warnings(action="ignore"):
        if path.suffix == ".pt2":
            torch.export.save(_exported(subject), path)
        else:
            traced = torch.jit.trace(subject.module, subject.example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, path)


def _exported(subject: Subject) -> torch.export.ExportedProgram:
    names = {name for lengths in subject.free for name in lengths.values()}
    free = {name: torch.export.Dim(name, min=1, max=_max_length(name, subject)) for name in names}
    shapes = tuple(
        {dim: free[name] for dim, name in lengths.items()} for lengths in subject.free
    )  # fmt: skip
    return torch.export.export(subject.module, subject.example, dynamic_shapes=shapes, strict=False)


def _max_length(name: str, subject: Subject) -> int | None:
    return int(subject.conf["max_tokens"]) if name == "tokens" else None


@torch.inference_mode()
def outputs_of(subject: Subject) -> ProgramOutput:
    """The original's outputs for the last sample. Raises ExportError."""
    with foreign("the model fails on a sample"):
        return subject.original(*subject.prepare(subject.samples[-1]))


def check_folder(folder: ModelFolder, subject: Subject) -> float:
    """The largest difference between the outputs of the written program and the original.

    Raises ExportError if it exceeds TOLERANCE in a batch of any size, or if a worker does not
    decode items as the model's own preprocessing does.
    """
    message = load_message(
        folder, device="cpu", threads=torch.get_num_threads(), max_image_pixels=1 << 24
    )
    try:
        program = load_program(message)
    except ModelLoadError as error:
        raise ExportError(f"the program cannot be served: {error}") from error
    items = [program.inputs.decode(sample) for sample in subject.samples]
    with foreign("the model fails on a sample"), torch.inference_mode():
        each = []
        for sample, item in zip(subject.samples, items, strict=True):
            arguments = program.inputs.collate([item], program.device)
            _check_arguments(arguments, subject, sample)
            each.append(subject.original(*arguments))
    expected = torch.cat([row[0] for row in each]), torch.cat([row[1] for row in each])
    if not torch.pdist(expected[1]).min() > 0:
        raise ExportError("the model computes the same features for different items")
    return max(
        _difference(program, items[:size], (expected[0][:size], expected[1][:size]))
        for size in (1, 2, len(items))
    )


def _check_arguments(arguments: list[Tensor], subject: Subject, sample: bytes) -> None:
    prepared = subject.prepare(sample)
    for actual, expected in zip(arguments, prepared, strict=True):
        if actual.shape != expected.shape:
            raise ExportError(
                f"a worker turns a sample into {tuple(actual.shape)}, the model's own "
                f"preprocessing into {tuple(expected.shape)}"
            )
        if actual.is_floating_point():
            deviations = subject.conf.get("std", "1").split(",")
            std = torch.tensor([float(value) for value in deviations]).view(-1, 1, 1)
            levels = float(((actual - expected).abs() * std).mean()) * 255
            if not levels <= PIXEL_TOLERANCE:
                raise ExportError(
                    f"a worker's pixels differ by {levels:.1f} levels of 255 on average from those "
                    "of the model's own preprocessing"
                )
        elif not torch.equal(actual, expected):
            raise ExportError(
                f"a worker turns {sample[:40]!r} into the tokens {actual.flatten().tolist()[:20]}, "
                f"the model's own tokenizer into {expected.flatten().tolist()[:20]}"
            )


def _difference(program: Program, items: list[Tensor], expected: ProgramOutput) -> float:
    outputs = program.forward(items)
    largest = 0.0
    predictions, features = expected
    for name, left, right in zip(Outputs._fields, outputs, (features, predictions), strict=True):
        if not right.numel():
            continue
        difference = float((left - right).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(right.abs().max())):
            raise ExportError(
                f"the program's {name} of a batch of {len(items)} differ by up to "
                f"{difference:.2g} from the model's; the limit is {TOLERANCE:g}"
            )
        largest = max(largest, difference)
    return largest
