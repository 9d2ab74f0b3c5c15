"""The state of a model, and of the index of its space."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    """Whether a model can be used. Clients see these words; they never change.

    - `loading`: its worker has not passed the load check yet
    - `ready`: payloads are embedded
    - `restarting`: its workers died, and new ones are being started
    - `quarantined`: it cannot be loaded, or keeps failing
    - `unloaded`: no model of this name is served; its vectors can be searched
    - `superseded`: an earlier version; its vectors can be searched
    """

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    UNLOADED = "unloaded"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of the live index of a space.

    indexed_rows: rows in the segment. unindexed_rows: rows added since, which are searched
    exactly. building: whether a new segment is being built. recall: the share of the true nearest
    neighbors that sampled searches found; None if none was sampled yet.
    """

    description: str
    indexed_rows: int
    unindexed_rows: int
    building: bool
    recall: float | None
    recall_samples: int
