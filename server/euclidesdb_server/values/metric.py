"""Metric: how the distance of two vectors is measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    """How two vectors are compared."""

    L2 = "l2"
    COSINE = "cosine"
    INNER_PRODUCT = "inner_product"
    LP = "lp"


@dataclass(frozen=True, slots=True)
class Metric:
    """The distance of a model space; smaller is nearer, in every engine.

    - `l2`: the Euclidean distance itself, not its square
    - `cosine`: 1 - cosine similarity, in [0, 2]; a zero vector is at distance 1 from all
    - `inner_product`: the negated inner product
    - `lp`: the p-norm of the difference, p >= 1

    normalized: vectors are scaled to unit length before they are compared (always for `cosine`).
    """

    kind: MetricKind
    p: float = 2.0
    normalized: bool = False

    @property
    def normalizes(self) -> bool:
        """Whether rows and queries are scaled to unit length before an engine sees them."""
        return self.normalized or self.kind is MetricKind.COSINE

    def __str__(self) -> str:
        name = f"l{self.p:g}" if self.kind is MetricKind.LP else f"{self.kind}"
        return f"normalized_{name}" if self.normalized else name


L2 = Metric(MetricKind.L2)
COSINE = Metric(MetricKind.COSINE)
INNER_PRODUCT = Metric(MetricKind.INNER_PRODUCT)
