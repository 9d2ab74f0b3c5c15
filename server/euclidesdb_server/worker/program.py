"""A model's program, run on batches that may contain bad items.

A program maps its arguments, batch dimension first, to `(predictions, features)`, or to features
only if prediction_dim is 0: EuclidesDB's order, which users' programs keep. Here the pair becomes
`(features, predictions)`, the order of everything else in the server. Outputs are checked row by
row, so that one item's bad output is that item's error only.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import torch

from euclidesdb_server.worker.inputs import InputKind

log = logging.getLogger(__name__)

Module: TypeAlias = Callable[..., Any]

SHORT: Final = 0.002
"""Seconds of a forward pass on one thread up to which other threads are not worth waking. If other
processes keep the cores busy, two threads wait for each other: a pass of 45 microseconds on one
thread took 80 on two, and 1,000 to 2,700 next to two busy processes."""
MEASURED_PASSES: Final = 5


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
        threads: int = 1,
    ) -> None:
        """threads: of a forward pass on the CPU that is not short."""
        self.inputs = inputs
        self.threads = threads
        self._seconds_per_element = math.inf  # of the items, on one thread
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

    def measure(self) -> None:
        """Find out how long a forward pass takes on one thread, for `is_short`."""
        if self.device.type != "cpu":
            return
        item = self.sample()[0]
        took = math.inf
        self._use_threads(1)
        for _ in range(MEASURED_PASSES):
            started = time.thread_time()
            self.forward([item])
            took = min(took, time.thread_time() - started)
            if took > MEASURED_PASSES * SHORT:
                break
        self._use_threads(self.threads)
        self._seconds_per_element = took / max(1, item.numel())

    def is_short(self, items: Sequence[torch.Tensor]) -> bool:
        """Whether a forward pass of these items is short: see SHORT. Estimated by their size; on
        another device than the CPU it never is.
        """
        elements = sum(item.numel() for item in items)
        return elements == 0 or elements * self._seconds_per_element <= SHORT

    def run(self, items: Sequence[torch.Tensor]) -> BatchResult:
        """Run a batch.

        A forward pass that fails is run again item by item, so that a bad item fails alone.
        """
        errors: list[Exception | None] = [None] * len(items)
        groups = self.inputs.groups(items) if len(items) > 1 else [[0]] if items else []
        passes = self._forward_passes(items, groups)
        if len(groups) == 1:
            positions, outcome = next(passes)
            if isinstance(outcome, Outputs) and positions == [*range(len(items))]:
                features, predictions = outcome
                if _all_finite(features) and _all_finite(predictions):
                    return BatchResult(features, predictions, errors)
            passes = itertools.chain([(positions, outcome)], passes)
        features = torch.empty(len(items), self._feature_dim)
        predictions = torch.empty(len(items), self._prediction_dim)
        for positions, outcome in passes:
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
            self._use_threads(1 if self.is_short([items[at] for at in group]) else self.threads)
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

    def _use_threads(self, count: int) -> None:
        """Make the forward passes of the calling thread use that many."""
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)


def _all_finite(values: torch.Tensor) -> bool:
    return values.numel() == 0 or bool(np.isfinite(values.numpy()).all())


def _as_rows(values: Any, count: int, dim: int, key: str) -> torch.Tensor:
    if (
        isinstance(values, torch.Tensor)
        and values.dtype == torch.float32
        and values.shape == (count, dim)
        and values.is_cpu
        and not values.requires_grad
    ):
        return values  # what most programs return: each call of torch takes microseconds
    if not isinstance(values, torch.Tensor) or not values.is_floating_point():
        raise BadOutput(f"{key}: it returned {_described(values)}, not a float tensor")
    if values.dim() < 2 or values.shape[0] != count or values[0].numel() != dim:
        raise BadOutput(
            f"{key} = {dim} in model.conf, but it returned shape {tuple(values.shape)} "
            f"for {count} item{'s' if count > 1 else ''}"
        )
    return values.detach().reshape(count, dim).to("cpu", torch.float32)


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {value.dtype} {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__
