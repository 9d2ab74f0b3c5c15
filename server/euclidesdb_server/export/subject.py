"""Subject: a module to export, and the original whose outputs it must reproduce."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from euclidesdb_server.export.similarity import UNDECLARED, Similarity

ProgramOutput: TypeAlias = tuple[Tensor, Tensor]
"""What a program returns: float32 predictions (n, prediction_dim) and features (n, feature_dim)."""


class ExportError(Exception):
    """The source cannot be exported; the message is one line and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model about to be exported.

    module: takes a worker's arguments, batch dimension first; returns `(predictions, features)`,
    or features alone. original: the outputs of the published model for the same arguments.
    prepare: the arguments for one item, a batch of one, by the model's own preprocessing.
    """

    source: str
    module: nn.Module
    original: Callable[..., ProgramOutput]
    prepare: Callable[[bytes], Sequence[Tensor]]
    example: tuple[Tensor, ...]
    """Arguments to trace with, a batch of two."""
    free: tuple[Mapping[int, str], ...]
    """For each argument, the names of its dimensions of variable length."""
    samples: Sequence[bytes]
    """At least five items as clients would send them; the last has the maximum length."""
    conf: Mapping[str, str]
    """The keys of model.conf that describe the input."""
    labels: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """The texts of further files in the model folder, by name."""
    similarity: Similarity = UNDECLARED
    """How the published model compares its vectors."""


def no_predictions(features: Tensor) -> Tensor:
    """The predictions of a model that has only features."""
    return torch.empty(len(features), 0)


@contextmanager
def foreign(complaint: str) -> Iterator[None]:
    """Turn any exception of a library, which may raise anything, into an ExportError."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{complaint}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(error).__name__
