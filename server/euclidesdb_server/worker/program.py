"""A model's program, run on batches that may contain bad items.

A program maps its arguments, batch dimension first, to `(predictions, features)`, or to features
only if prediction_dim is 0: EuclidesDB's order, which users' programs keep. Here the pair becomes
`(features, predictions)`, the order of everything else in the server. Outputs are checked row by
row, so that one item's bad output is that item's error only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from euclidesdb_server.worker.inputs import InputKind

log = logging.getLogger(__name__)

Module: TypeAlias = Callable[..., Any]


class BadOutput(Exception):
    """The program's output is not what model.conf declares."""


class Outputs(NamedTuple):
    """What a program computes from n items: float32 on the CPU, a row per item."""

    features: torch.Tensor
    """Shape (n, feature_dim)."""
    predictions: torch.Tensor
    """Shape (n, prediction_dim)."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The outcome of a batch.

    errors: one per item, in order; None for an item that succeeded. features, predictions: as
    `Outputs`, a row for each item that succeeded, in the order of the items.
    """

    features: torch.Tensor
    predictions: torch.Tensor
    errors: list[Exception | None]


class Program:
    """A loaded model. Not thread-safe.

    module: runs a forward pass; its floating-point arguments have the type `dtype`.
    device: where its arguments must be. warning: what the load check found, though it can be
    served; or empty.
    """

    warning = ""

    def __init__(
        self,
        module: Module,
        inputs: InputKind,
        conf: Mapping[str, Any],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.inputs = inputs
        self.name: str = conf["name"]
        self.device = torch.device(device)
        self.dtype = dtype
        self.module = module
        self._prediction_dim: int = conf["prediction_dim"]
        self._feature_dim: int = conf["feature_dim"]

    def sample(self) -> list[torch.Tensor]:
        """A pair of items that the program takes. Raises BadOutput, or the program's own error."""
        failure: Exception | None = None
        for pair in self.inputs.samples():
            try:
                self.forward(pair[:1])
            except Exception as error:  # foreign code
                if isinstance(error, BadOutput):
                    raise
                failure = failure or error
            else:
                return pair
        raise failure or BadOutput("there is no sample for it")

    def run(self, items: Sequence[torch.Tensor]) -> BatchResult:
        """Run a batch.

        A forward pass that fails is run again item by item, so that a bad item fails alone.
        """
        features = torch.empty(len(items), self._feature_dim)
        predictions = torch.empty(len(items), self._prediction_dim)
        errors: list[Exception | None] = [None] * len(items)
        for positions, outcome in self._forward_passes(items, self.inputs.groups(items)):
            if isinstance(outcome, Outputs):
                features[positions], predictions[positions] = outcome
            else:
                errors[positions[0]] = outcome
        # by NumPy: for 32 x 1,000 values it takes 15 microseconds, torch.isfinite 160
        finite = np.isfinite(features.numpy()).all(axis=1)
        finite &= np.isfinite(predictions.numpy()).all(axis=1)
        for position, is_finite in enumerate(finite.tolist()):
            if errors[position] is None and not is_finite:
                errors[position] = BadOutput("it returned NaN or infinity")
        succeeded = [error is None for error in errors]
        if all(succeeded):
            return BatchResult(features, predictions, errors)
        rows = torch.tensor(succeeded)
        return BatchResult(features[rows], predictions[rows], errors)

    def forward(self, items: Sequence[torch.Tensor]) -> Outputs:
        """One forward pass.

        Raises BadOutput for outputs of another type or shape, and whatever the program raises.
        """
        with torch.inference_mode():
            arguments = [
                argument.to(self.dtype)
                if self.dtype != torch.float32 and argument.is_floating_point()
                else argument
                for argument in self.inputs.collate(items, self.device)
            ]
            output = self.module(*arguments)
        count = len(items)
        if self._prediction_dim == 0 and isinstance(output, torch.Tensor):
            features = _as_rows(output, count, self._feature_dim, "feature_dim")
            return Outputs(features, features.new_empty((count, 0)))
        if not isinstance(output, tuple | list) or len(output) != 2:
            expected = "(predictions, features)" if self._prediction_dim else "features"
            raise BadOutput(f"it returned {_described(output)}, not {expected}")
        predictions, features = output
        return Outputs(
            _as_rows(features, count, self._feature_dim, "feature_dim"),
            _as_rows(predictions, count, self._prediction_dim, "prediction_dim"),
        )

    def _forward_passes(
        self, items: Sequence[torch.Tensor], groups: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], Outputs | Exception]]:
        """The outputs of each group of positions; of a group that fails, those of each item."""
        for group in groups:
            try:
                outputs = self.forward([items[position] for position in group])
            except Exception as error:  # a program is foreign code: it may raise anything
                if len(group) > 1:
                    yield from self._forward_passes(items, [[position] for position in group])
                else:
                    log.warning("the program failed on an item", exc_info=error)
                    yield group, error
            else:
                yield group, outputs


def _as_rows(values: Any, count: int, dim: int, key: str) -> torch.Tensor:
    if not isinstance(values, torch.Tensor) or not values.is_floating_point():
        raise BadOutput(f"{key}: it returned {_described(values)}, not a float tensor")
    if values.dim() < 2 or values.shape[0] != count or values[0].numel() != dim:
        raise BadOutput(
            f"{key} = {dim} in model.conf, but it returned shape {tuple(values.shape)} "
            f"for {count} item{'s' if count > 1 else ''}"
        )
    return values.reshape(count, dim).to("cpu", torch.float32)


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {value.dtype} {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__
