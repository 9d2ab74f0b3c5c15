"""The state of a model, of the index of its space, and of an item in a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    """Whether a model can be used. Clients see these words; they never change.

    - `loading`: no worker has passed the load check yet
    - `ready`: payloads are embedded
    - `restarting`: its workers died, and new ones are being started
    - `quarantined`: it cannot be loaded, and trying again would not help
    - `unloaded`: no model of this name is served; its vectors can be searched
    - `superseded`: an earlier version; its vectors can be searched
    """

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    UNLOADED = "unloaded"
    SUPERSEDED = "superseded"


class EmbeddingState(StrEnum):
    """What there is of an item by a model. Clients see these words; they never change.

    - `done`: features of the version in service
    - `failed`: that version failed on the item as it is now
    - `superseded`: features of other versions alone
    - `missing`: nothing
    """

    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of the live index of a space.

    indexed_rows: rows with an index, deleted ones included. unindexed_rows: the others, which are
    searched exactly, without deleted ones.
    segments: how many a search asks. building: whether one is being written. verifying: whether
    vectors on disk are still being compared with their checksums. failure: why an index could not
    be built the last time, or "". recall: the share of the true nearest neighbors that sampled
    searches found; None if none was sampled yet. deleted_rows: those that segments still hold.
    """

    description: str
    indexed_rows: int
    unindexed_rows: int
    segments: int
    building: bool
    verifying: bool
    failure: str
    recall: float | None
    recall_samples: int
    deleted_rows: int = 0
