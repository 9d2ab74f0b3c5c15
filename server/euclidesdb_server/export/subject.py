"""What is exported: a module to make a program of, and the original that it must answer like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

Answer: TypeAlias = tuple[Tensor, Tensor]
"""Predictions (n, prediction_dim) and features (n, feature_dim), float32."""


class ExportError(Exception):
    """What was named cannot be exported; the message says why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model about to be exported.

    module: takes what a worker gives, batch dimension first; returns `(predictions, features)`,
    or features alone. original: the answer of the model as published, to the same arguments.
    prepare: the arguments for one item, a batch of one, by the model's own preprocessing.
    """

    source: str
    module: nn.Module
    original: Callable[..., Answer]
    prepare: Callable[[bytes], Sequence[Tensor]]
    example: tuple[Tensor, ...]
    """Arguments to trace with, a batch of two."""
    free: tuple[Mapping[int, str], ...]
    """Of each argument: the names of its dimensions of any length."""
    samples: Sequence[bytes]
    """Items, at least five, as clients would send them; the last is as long as any may be."""
    conf: Mapping[str, str]
    """What model.conf says of the input."""
    labels: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts of further files of the model folder, by name."""


def no_predictions(features: Tensor) -> Tensor:
    """The predictions of a model that only has features."""
    return torch.empty(len(features), 0)


@contextmanager
def foreign(complaint: str) -> Iterator[None]:
    """Around other people's code, which may raise anything: it becomes an ExportError."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{complaint}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(error).__name__
