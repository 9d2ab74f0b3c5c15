"""When a worker that is gone, or could not be started, is started again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses, in seconds, before a worker is started again: each twice as long as the last.

    After the tenth failure in a row a model whose cause has passed is back within `limit`.
    """

    first: float = 0.1
    limit: float = 60.0

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        return float(min(self.limit, self.first * 2 ** min(failures - 1, 60)))


PAUSES: Final = Pauses()
"""Those of a server."""
