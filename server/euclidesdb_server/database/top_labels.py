"""The most probable classes of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.predicted import probabilities


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
    (shares,) = probabilities(predictions[np.newaxis])
    order = np.argsort(-shares, kind="stable")[:count].tolist()
    return tuple(
        LabelProbability(label_name(number, names), float(shares[number])) for number in order
    )


def label_name(number: int, names: Sequence[str]) -> str:
    """The name of a class; its number if it has none."""
    return names[number] if number < len(names) else str(number)
