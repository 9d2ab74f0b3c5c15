"""What the store keeps of embedding jobs: what each has to do, and how far it has come.

A job's record is written in the batch that stores what the job has made of some items, so its
counts and its position are those of the items, whatever happens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.reader import packed

log = logging.getLogger(__name__)

RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"


class JobRecord(msgspec.Struct, frozen=True, array_like=True):
    """An embedding job.

    number: from 1, never reused. model, fingerprint, space: of the version that makes the features.
    condition: which items, as the caller's filter was sent; b"": all. states: of the items chosen.
    up_to: the last label given out before the job began: later items are none of its.
    created: in milliseconds since 1970. position: items whose first label is not greater have been
    dealt with. done, failed: how many have features now, and on how many the model failed.
    skipped: how many were left out, by reason. state: RUNNING or how the job ended, with a message
    and the time.
    """

    number: int
    model: str
    fingerprint: str
    space: int
    condition: bytes
    states: tuple[str, ...]
    up_to: int
    created: int
    position: int = 0
    done: int = 0
    failed: int = 0
    skipped: Mapping[str, int] = msgspec.field(default_factory=dict)
    state: str = RUNNING
    message: str = ""
    finished: int = 0


_unpacked: Final = msgspec.msgpack.Decoder(JobRecord).decode


def unpack_job(key: bytes, value: bytes) -> JobRecord:
    """The job in a record. Raises CorruptRecord."""
    number = keys.unpack_label(key[1:])
    try:
        record = _unpacked(value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptRecord(f"the record of job {number} cannot be parsed: {error}") from error
    if record.number != number:
        raise CorruptRecord(f"the record of job {number} is that of job {record.number}")
    return record


def put_job(batch: Any, record: JobRecord) -> None:
    """Add a job's record to a batch."""
    batch.put(keys.job_key(record.number), packed(record))


class JobTable:
    """The records of jobs. Thread-safe; the caller sees to it that a record has one writer."""

    def __init__(self, leveldb: LevelDB) -> None:
        self._leveldb = leveldb

    def all(self) -> list[JobRecord]:
        """All jobs, in order of creation; those that cannot be read are logged and left out."""
        jobs = []
        for found in self._leveldb.scan(keys.job_key(0), keys.job_key(keys.MAX_LABEL)):
            for key, value in found:
                try:
                    jobs.append(unpack_job(key, value))
                except CorruptRecord as error:
                    log.error("%s", error)
        return jobs

    def get(self, number: int) -> JobRecord | None:
        """A job; None if there is none. Raises StorageError."""
        key = keys.job_key(number)
        value = self._leveldb.get(key)
        return None if value is None else unpack_job(key, value)

    def write(self, *records: JobRecord, forget: Iterable[int] = ()) -> None:
        """Write records, and delete those of other jobs; atomic and synced. Raises StorageError."""
        batch = self._leveldb.batch()
        for record in records:
            put_job(batch, record)
        for number in forget:
            batch.delete(keys.job_key(number))
        self._leveldb.write(batch, "writing the record of a job", sync=True)
