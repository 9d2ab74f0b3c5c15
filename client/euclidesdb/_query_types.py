"""What a search is given, and how it ranks: values that `Client.find_similar` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from euclidesdb._checks import ItemId
from euclidesdb._images import Image
from euclidesdb._types import ModelVector

Filter: TypeAlias = Mapping[str, Any] | str
"""Which items are wanted: `{"price": {"$lt": 10}}` or `'price < 10'` (docs/filters.md)."""

# Values that hold arrays compare by identity: `==` of two arrays is an array, not a bool.


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An item to be like, or not to be like; exactly one field is given.

    image, text, tensor: as for `Client.add`.
    id: a stored item. It is not among the results, unless `include_self` is set.
    vector: shape (feature_dim,); the search then needs exactly one model.
    """

    image: Image | None = None
    text: str | None = None
    tensor: npt.ArrayLike | None = None
    id: ItemId | None = None
    vector: npt.ArrayLike | ModelVector | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A query by examples, at most 1,000 in all.

    The vector searched for is the mean of the positive ones, plus the difference between it and the
    mean of the negative ones, if there are any. With the metric "cosine", and others that are
    normalized, each example is scaled to unit length first.

        Examples([Example(id="sku-1"), Example(image="boot.png")], negative=[Example(id="sku-7")])
    """

    positive: Sequence[Example]
    negative: Sequence[Example] = ()


@dataclass(frozen=True, slots=True)
class Diversity:
    """How results are chosen for being near to the query and far from one another.

    weight: from 0, nearness alone, to 1, difference alone.
    candidates: how many of the nearest to choose from, up to 10,000; 0: five times as many as
        are wanted.
    """

    weight: float
    candidates: int = 0


@dataclass(frozen=True, slots=True)
class GroupBy:
    """At most `max_per_group` results with each value of a field; those without it are a group.

    field: the name of an attribute, with dots for one in a nested object ("size.width"); "$id"; or
        the label that a model predicts ("digits.label").
    """

    field: str
    max_per_group: int = 1
