"""JobRequest: what a caller wants a job to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.status import EmbeddingState

MAX_CONDITION_BYTES: Final = 16 << 10
"""Of a filter: it is written again with each step, and is in each list of jobs."""

LACKING: Final = (EmbeddingState.MISSING, EmbeddingState.SUPERSEDED)
"""The items that a job deals with if it does not say."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """states: of the items in the model. condition: a filter as the caller sent it; b"": none."""

    model: str
    states: Sequence[EmbeddingState] = LACKING
    condition: bytes = b""

    def check(self) -> None:
        """Raises InvalidRequest."""
        if len(self.condition) > MAX_CONDITION_BYTES:
            raise InvalidRequest(
                f"the filter has {len(self.condition):,} bytes; that of a job may have "
                f"{MAX_CONDITION_BYTES:,}"
            )
        if EmbeddingState.DONE in self.states:
            raise InvalidRequest("states has done: items that have features are left as they are")
