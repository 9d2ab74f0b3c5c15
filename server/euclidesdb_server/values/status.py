"""The state of a model, and of the index of its space."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    """Where a model stands."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    UNLOADED = "unloaded"
    SUPERSEDED = "stale"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How the live index of a space stands.

    recall: the share of the true nearest among the answers to the sampled queries; None where
    none was measured yet.
    """

    description: str
    indexed_rows: int
    unindexed_rows: int
    building: bool
    recall: float | None
    recall_samples: int
