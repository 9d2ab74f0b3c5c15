"""A model's program: loaded, checked, and run on batches that may hold bad items.

A program maps (n, ...) to `(predictions, features)`; what comes out is checked row by row, so
that what is wrong with one item is said of that item alone.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import InputKind
from euclidesdb_server.worker.inputs.image import ImageInput

log = logging.getLogger(__name__)

Row: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Predictions and features of one item; float32, each 1-D."""

RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-4
"""Of the largest value: sums come out in another order in a batch than alone."""


class BadOutput(Exception):
    """The program answered with something that is not what model.conf says."""


class Program:
    """A loaded model. For one thread at a time."""

    def __init__(self, module: torch.nn.Module, inputs: InputKind, conf: Mapping[str, Any]) -> None:
        self.inputs = inputs
        self.name: str = conf["name"]
        self._module = module
        self._prediction_dim: int = conf["prediction_dim"]
        self._feature_dim: int = conf["feature_dim"]

    def run(self, items: Sequence[torch.Tensor]) -> list[Row | Exception]:
        """A row, or what went wrong, for each item; items of equal shape share a forward pass.

        A forward pass that fails is run again item by item, so that a poisonous item fails alone.
        """
        answers: dict[int, Row | Exception] = {}
        groups: dict[torch.Size, list[int]] = {}
        for index, item in enumerate(items):
            groups.setdefault(item.shape, []).append(index)
        for group in groups.values():
            answers.update(self._run_group(items, group))
        return [answers[index] for index in range(len(items))]

    def forward(self, items: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass: predictions (n, prediction_dim) and features (n, feature_dim),
        float32. Raises BadOutput for other shapes, and whatever the program raises.
        """
        with torch.inference_mode():
            output = self._module(self.inputs.collate(items))
        if not isinstance(output, tuple) or len(output) != 2:
            raise BadOutput(f"it returned {_described(output)}, not (predictions, features)")
        predictions, features = output
        return (
            _as_rows(predictions, len(items), self._prediction_dim, "prediction_dim"),
            _as_rows(features, len(items), self._feature_dim, "feature_dim"),
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


def load_program(load: Mapping[str, Any]) -> Program:
    """The program of the parent's `load` message, checked. Raises ModelLoadError."""
    torch.set_num_threads(load["threads"])
    conf = load["conf"]
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            module = torch.jit.load(load["program"], map_location="cpu")  # type: ignore[no-untyped-call]
        module.eval()
    except Exception as error:  # torch raises anything, down to RuntimeError, on a bad archive
        reason = str(error).partition("\n")[0][:500]
        raise ModelLoadError(f"{load['program']} is no TorchScript program: {reason}") from error
    program = Program(module, ImageInput(conf, max_pixels=load["max_image_pixels"]), conf)
    check_program(program, batches=conf["max_batch_size"] > 1)
    return program


def check_program(program: Program, *, batches: bool) -> None:
    """Run the load check, which is also the warm-up. Raises ModelLoadError.

    Two inputs embedded together must equal the two apart, shapes must be model.conf's and
    values finite. That finds a wrong feature_dim, a softmax over the batch, dropout left on.
    """
    apart, pair = _first_accepted(program)
    for name, values in zip(("predictions", "features"), apart, strict=True):
        if not torch.isfinite(values).all():
            raise ModelLoadError(f"the program's {name} are not finite (NaN or infinity)")
    _compare(apart, _apart(program, pair), "change from one run to the next: is it in eval mode?")
    if not batches:
        return
    try:
        together = program.forward(pair)
    except Exception as error:  # foreign code
        raise ModelLoadError(
            f"the program takes one item but not two together ({_short(error)}); export it "
            "with a free batch dimension, or set [model] max_batch_size = 1"
        ) from error
    _compare(
        apart,
        together,
        "of an item change when another shares its batch (a softmax over dim 0, perhaps); mend "
        "the program, or set [model] max_batch_size = 1",
    )


def _first_accepted(program: Program) -> tuple[Row, list[torch.Tensor]]:
    failure: Exception | None = None
    for pair in program.inputs.samples():
        try:
            return _apart(program, pair), pair
        except BadOutput as error:
            raise ModelLoadError(f"the program does not do as model.conf says: {error}") from error
        except Exception as error:  # foreign code
            failure = failure or error
    raise ModelLoadError(
        f"the program fails on sample inputs ({_short(failure)}); does [model] say what it "
        "takes (image_size, image_mode)?"
    ) from failure


def _apart(program: Program, pair: list[torch.Tensor]) -> Row:
    rows = [program.forward([item]) for item in pair]
    return torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])


def _compare(expected: Row, got: Row, complaint: str) -> None:
    for name, left, right in zip(("predictions", "features"), expected, got, strict=True):
        scale = float(left.abs().max()) if left.numel() else 0.0
        if not torch.allclose(
            left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE * scale
        ):
            most = float((left - right).abs().max())
            raise ModelLoadError(f"the program's {name} {complaint} (by up to {most:.3g})")


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


def _short(error: Exception | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
