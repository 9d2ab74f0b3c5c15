"""The most probable classes of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.arrays import Vector

SUM_TOLERANCE: Final = 1e-3
"""Predictions of 0 and more whose sum is so near to 1 are probabilities."""


class LabelProbability(msgspec.Struct, frozen=True):
    """A class, and how probable it is. label: its number, if the names are not known."""

    label: str
    probability: float


def top_labels(
    predictions: Vector, names: Sequence[str], count: int
) -> tuple[LabelProbability, ...]:
    """The `count` most probable classes (or all), the most probable first.

    Of classes alike the first is first. names: of the classes; empty if they are not known.
    """
    if not len(predictions):
        return ()
    shares = probabilities(predictions)
    order = np.argsort(-shares, kind="stable")[:count].tolist()
    return tuple(
        LabelProbability(label_name(number, names), float(shares[number])) for number in order
    )


def label_name(number: int, names: Sequence[str]) -> str:
    """The name of a class; its number if it has none."""
    return names[number] if number < len(names) else str(number)


def probabilities(predictions: Vector) -> npt.NDArray[np.float64]:
    """The probabilities of classes, shape (classes,).

    Predictions that are not probabilities are taken for logits.
    """
    values = predictions.astype(np.float64)
    if values.min() >= 0 and abs(values.sum() - 1) <= SUM_TOLERANCE:
        return values
    powers = np.exp(values - values.max())
    shares: npt.NDArray[np.float64] = powers / powers.sum()
    return shares
