"""`JobCalls`: the operations that start embedding jobs, and tell of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb import _checks as checks
from euclidesdb._connection import Connection
from euclidesdb._errors import DeadlineExceeded
from euclidesdb._filters import filter_message
from euclidesdb._operation import operation
from euclidesdb._query_types import Filter
from euclidesdb._states import EPOCH, state_number
from euclidesdb_protos.v1 import database_pb2 as pb

POLL_INTERVAL: Final = 0.5
"""Seconds between two looks at a job that is waited for."""

_STATES: Final = {
    pb.JOB_STATE_RUNNING: "running",
    pb.JOB_STATE_WAITING: "waiting",
    pb.JOB_STATE_SUCCEEDED: "succeeded",
    pb.JOB_STATE_CANCELLED: "cancelled",
    pb.JOB_STATE_FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A model that runs over stored items in the background.

    state: "running"; "waiting": it cannot go on now, and does by itself later; "succeeded",
        "cancelled" or "failed": it is over.
    message: why it waits, or has failed.
    model, fingerprint: the version that runs.
    created, finished: in UTC; finished: None until it is over.
    done: the number of items that have features now. failed: of those that the model failed on.
    remaining: about how many are left; None: not known yet.
    skipped: the number of items that were left out, by reason: "no_payload" (their image, text or
        tensor is not kept), "other_input" (it is of another kind), "changed", "corrupt_record".
    items_per_second: 0 if it is not known.
    """

    id: str
    state: str
    message: str
    model: str
    fingerprint: str
    created: datetime
    finished: datetime | None
    done: int
    failed: int
    remaining: int | None
    skipped: Mapping[str, int]
    items_per_second: float

    @property
    def is_over(self) -> bool:
        """Whether it does nothing any more."""
        return self.state in {"succeeded", "cancelled", "failed"}


class JobCalls:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def embed(
        self,
        model: str,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        state: str | Sequence[str] = ("missing", "superseded"),
        timeout: float | None = None,
    ) -> Job:
        """Start to run a model over stored items, in the background; returns the job.

        It runs over the items that have been added before, from the image, text or tensor that is
        kept of each, and goes on after a crash of the server. If a job that does the same is
        running, that one is returned: items added since it began are left out of it.

        filter: only items that match; None: all.
        state: only items in these states in the model: by default those that it has not been run
            on. "failed" tries again those that it failed on.

            job = db.wait_for_job(db.embed("digits").id)

        Raises UnknownModel, ModelUnavailable, InvalidRequest, ValueError.
        """
        states = [state] if isinstance(state, str) else [*state]
        request = pb.StartEmbeddingRequest(
            model=checks.text("model", model), states=map(state_number, states)
        )
        if filter is not None:
            request.filter.CopyFrom(filter_message(filter))
        connection = self._connection
        reply: pb.StartEmbeddingReply = await connection.call(
            "StartEmbedding", request, connection.call_timeout(timeout)
        )
        return _job(reply.job)

    @operation
    async def job(self, id: str, *, timeout: float | None = None) -> Job:  # noqa: A002  as above
        """A job as it is now. Raises UnknownJob: also for one that was over long ago."""
        return await _found(self._connection, checks.text("id", id), timeout)

    @operation
    async def jobs(self, *, timeout: float | None = None) -> tuple[Job, ...]:
        """All jobs that are not over and the latest of the others, the newest first."""
        connection = self._connection
        reply: pb.ListJobsReply = await connection.call(
            "ListJobs", pb.ListJobsRequest(), connection.call_timeout(timeout)
        )
        return tuple(map(_job, reply.jobs))

    @operation
    async def cancel_job(self, id: str, *, timeout: float | None = None) -> Job:  # noqa: A002  as above
        """End a job; what it has made stays. Returns it as it is then. Raises UnknownJob."""
        request = pb.CancelJobRequest(id=checks.text("id", id))
        connection = self._connection
        reply: pb.CancelJobReply = await connection.call(
            "CancelJob", request, connection.call_timeout(timeout)
        )
        return _job(reply.job)

    @operation
    async def wait_for_job(self, id: str, *, timeout: float | None = None) -> Job:  # noqa: A002  as above
        """Wait until a job is over, and return it. timeout: in seconds; None: for ever.

        Raises UnknownJob; DeadlineExceeded if it is not over in time, and then it goes on.
        """
        connection, job_id = self._connection, checks.text("id", id)
        end = None if timeout is None else time.monotonic() + timeout
        while not (job := await _found(connection, job_id, None)).is_over:
            if end is not None and time.monotonic() >= end:
                raise DeadlineExceeded(
                    f"job {id} is not over after {timeout} s: it goes on", "deadline_exceeded"
                )
            await connection.pause(POLL_INTERVAL)
        return job


async def _found(connection: Connection, job_id: str, timeout: float | None) -> Job:
    reply: pb.GetJobReply = await connection.call(
        "GetJob", pb.GetJobRequest(id=job_id), connection.call_timeout(timeout)
    )
    return _job(reply.job)


def _job(message: pb.Job) -> Job:
    return Job(
        message.id,
        _STATES.get(message.state, "unknown"),
        message.message,
        message.model,
        message.fingerprint,
        _time(message.created),
        _time(message.finished) if message.HasField("finished") else None,
        message.done,
        message.failed,
        message.remaining if message.HasField("remaining") else None,
        dict(message.skipped),
        message.items_per_second,
    )


def _time(message: Timestamp) -> datetime:
    return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
