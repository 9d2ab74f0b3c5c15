"""A model's program, run on batches that may hold bad items.

A program maps its arguments, batch dimension first, to `(predictions, features)`, or to features
alone where prediction_dim is 0. What comes out is checked row by row, so that what is wrong with
one item is said of that item alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from euclidesdb_server.worker.inputs import InputKind

log = logging.getLogger(__name__)

Row: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Predictions and features of one item; float32, each 1-D."""

Module: TypeAlias = Callable[..., Any]


class BadOutput(Exception):
    """The program answered with something that is not what model.conf says."""


class Program:
    """A loaded model. For one thread at a time.

    module: what runs; takes arguments of floating point in `dtype`. device: where they must be.
    """

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
        """A pair of items that the program takes. Raises BadOutput, or what it fails with."""
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

    def run(self, items: Sequence[torch.Tensor]) -> list[Row | Exception]:
        """A row, or what went wrong, for each item.

        A forward pass that fails is run again item by item, so that a poisonous item fails alone.
        """
        answers: dict[int, Row | Exception] = {}
        for group in self.inputs.groups(items):
            answers.update(self._run_group(items, group))
        return [answers[index] for index in range(len(items))]

    def forward(self, items: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass: predictions (n, prediction_dim) and features (n, feature_dim),
        float32. Raises BadOutput for other shapes, and whatever the program raises.
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
            return features.new_empty((count, 0)), features
        if not isinstance(output, tuple | list) or len(output) != 2:
            wanted = "(predictions, features)" if self._prediction_dim else "features"
            raise BadOutput(f"it returned {_described(output)}, not {wanted}")
        predictions, features = output
        return (
            _as_rows(predictions, count, self._prediction_dim, "prediction_dim"),
            _as_rows(features, count, self._feature_dim, "feature_dim"),
        )

    def _run_group(
        self, items: Sequence[torch.Tensor], group: list[int]
    ) -> dict[int, Row | Exception]:
        try:
            predictions, features = self.forward([items[index] for index in group])
        except Exception as error:  # a program is foreign code: it may raise anything
            if len(group) == 1:
                log.warning("the program failed on an item", exc_info=error)
                return {group[0]: error}
            return {
                index: answer
                for alone in group
                for index, answer in self._run_group(items, [alone]).items()
            }
        finite = torch.isfinite(features).all(dim=1) & torch.isfinite(predictions).all(dim=1)
        return {
            index: (predictions[row], features[row])
            if finite[row]
            else BadOutput("it returned NaN or infinity")
            for row, index in enumerate(group)
        }


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
