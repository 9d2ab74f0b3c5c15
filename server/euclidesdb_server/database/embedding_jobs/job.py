"""Job: one embedding job, as it is now."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from euclidesdb_server.database.embedding_jobs.job_call import JobCall
from euclidesdb_server.store import RUNNING, JobRecord

SMOOTHING: Final = 8
"""The number of steps over which the rate is averaged."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What callers see. waiting: why a job that is not over does not go on; "": it does.

    remaining: about how many items it has yet to deal with; None: not known yet. rate: of items
    per second; 0 if it is not known.
    """

    record: JobRecord
    waiting: str = ""
    remaining: int | None = None
    rate: float = 0.0


class Job:
    """Guarded by `lock`, which is held while the record changes, in memory and in the store."""

    def __init__(self, record: JobRecord) -> None:
        self.lock = threading.Lock()
        self.record = record
        self.waiting = ""
        self.remaining: int | None = None
        self.call = JobCall()
        self._rate = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it does nothing any more."""
        return self.record.state != RUNNING

    @property
    def status(self) -> JobStatus:
        """As of now."""
        over = self.is_over
        return JobStatus(
            self.record,
            "" if over else self.waiting,
            0 if over else self.remaining,
            0.0 if over else self._rate,
        )

    def ended(self, state: str, message: str = "") -> JobRecord:
        """Its record with this end."""
        now = time.time_ns() // 1_000_000
        return msgspec.structs.replace(self.record, state=state, message=message, finished=now)

    def note_rate(self, items: int, seconds: float) -> None:
        """Some items took so long."""
        rate = items / max(seconds, 1e-6)
        self._rate = rate if not self._rate else self._rate + (rate - self._rate) / SMOOTHING
