"""The program of a subject: written by torch.export or TorchScript, and checked as it is served.

The check loads what was written as a worker does, gives it sample items through the worker's own
decoding, and compares both, pixels or tokens and answers, with the original's.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.export.subject import Answer, ExportError, Subject, foreign
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.loading import load_program
from euclidesdb_server.worker.program import Outputs, Program

FILES: Final = {"pt2": "program.pt2", "torchscript": "program.pt"}
"""By format. Whatever a model is called, these names are good on every disk."""

TOLERANCE: Final = 1e-4
"""Between the program's answer and the original's; of the largest value where that is above 1."""

PIXEL_TOLERANCE: Final = 1.0
"""Levels of 255, on average over an image: libraries round differently. Of noise, bicubic and
bilinear are 14 levels apart, the two nearest ways of resizing 6."""


@torch.no_grad()
def write_program(subject: Subject, path: Path) -> None:
    """Write the program; `path` ends as its format does. Raises ExportError."""
    # of transformers' checks of what is fixed here as well, and of deprecations within torch
    with foreign("torch cannot make a program of it"), warnings.catch_warnings(action="ignore"):
        if path.suffix == ".pt2":
            torch.export.save(_exported(subject), path)
        else:
            traced = torch.jit.trace(subject.module, subject.example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, path)


def _exported(subject: Subject) -> torch.export.ExportedProgram:
    names = {name for lengths in subject.free for name in lengths.values()}
    free = {name: torch.export.Dim(name, min=1, max=_longest(name, subject)) for name in names}
    shapes = tuple(
        {dim: free[name] for dim, name in lengths.items()} for lengths in subject.free
    )  # fmt: skip
    return torch.export.export(subject.module, subject.example, dynamic_shapes=shapes, strict=False)


def _longest(name: str, subject: Subject) -> int | None:
    return int(subject.conf["max_tokens"]) if name == "tokens" else None


@torch.inference_mode()
def answer_of(subject: Subject) -> Answer:
    """What the original says of the last sample, in the lengths of all. Raises ExportError."""
    with foreign("the model fails on a sample"):
        return subject.original(*subject.prepare(subject.samples[-1]))


def check_folder(folder: ModelFolder, subject: Subject) -> float:
    """The largest difference between the written program's answers and the original's.

    Raises ExportError where that is more than TOLERANCE, in a batch of any size, or where items
    are not decoded as the model was trained.
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
        expected = []
        for sample, item in zip(subject.samples, items, strict=True):
            arguments = program.inputs.collate([item], program.device)
            _check_arguments(arguments, subject, sample)
            expected.append(subject.original(*arguments))
    wanted = torch.cat([row[0] for row in expected]), torch.cat([row[1] for row in expected])
    if not torch.pdist(wanted[1]).min() > 0:
        raise ExportError("the model gives different items the same features")
    return max(
        _difference(program, items[:size], (wanted[0][:size], wanted[1][:size]))
        for size in (1, 2, len(items))
    )


def _check_arguments(arguments: list[Tensor], subject: Subject, sample: bytes) -> None:
    prepared = subject.prepare(sample)
    for got, wanted in zip(arguments, prepared, strict=True):
        if got.shape != wanted.shape:
            raise ExportError(
                f"a worker makes {tuple(got.shape)} of a sample, the model's own "
                f"preprocessing {tuple(wanted.shape)}"
            )
        if got.is_floating_point():
            told = subject.conf.get("std", "1")
            std = torch.tensor([float(value) for value in told.split(",")]).view(-1, 1, 1)
            levels = float(((got - wanted).abs() * std).mean()) * 255
            if not levels <= PIXEL_TOLERANCE:
                raise ExportError(
                    f"a worker's pixels are {levels:.1f} levels of 255 from those of the model's "
                    "own preprocessing, on average"
                )
        elif not torch.equal(got, wanted):
            raise ExportError(
                f"of {sample[:40]!r} a worker makes the tokens {got.flatten().tolist()[:20]}, "
                f"the model's own tokenizer {wanted.flatten().tolist()[:20]}"
            )


def _difference(program: Program, items: list[Tensor], wanted: Answer) -> float:
    got = program.forward(items)
    largest = 0.0
    predictions, features = wanted
    for name, left, right in zip(Outputs._fields, got, (features, predictions), strict=True):
        if not right.numel():
            continue
        difference = float((left - right).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(right.abs().max())):
            raise ExportError(
                f"the program's {name} of a batch of {len(items)} are up to {difference:.2g} "
                f"from the model's; {TOLERANCE:g} is allowed"
            )
        largest = max(largest, difference)
    return largest
