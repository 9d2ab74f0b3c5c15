"""The calls of the v1 API that start embedding jobs, and tell of them."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database import EmbeddingJobs, FeatureDatabase, ItemQueries
from euclidesdb_server.database.embedding_jobs import JobRequest, JobStatus
from euclidesdb_server.database.embedding_jobs.job_request import LACKING
from euclidesdb_server.database.requests import Call
from euclidesdb_server.errors import UnknownJob
from euclidesdb_server.rpc.v1_states import STATES, state_of
from euclidesdb_server.rpc.v1_transfers import TransferCalls
from euclidesdb_server.store import CANCELLED, FAILED, RUNNING, SUCCEEDED
from euclidesdb_server.values.status import EmbeddingState

JOB_STATES: Final = {
    RUNNING: pb.JOB_STATE_RUNNING,
    SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    CANCELLED: pb.JOB_STATE_CANCELLED,
    FAILED: pb.JOB_STATE_FAILED,
}
MAX_DIGITS: Final = 18


class JobCalls(TransferCalls):
    """Translates between messages and `EmbeddingJobs`."""

    def __init__(
        self, database: FeatureDatabase, queries: ItemQueries, jobs: EmbeddingJobs
    ) -> None:
        super().__init__(database, queries)
        self._jobs = jobs

    def StartEmbedding(  # noqa: N802
        self,
        request: pb.StartEmbeddingRequest,
        call: Call,  # noqa: ARG002
    ) -> pb.StartEmbeddingReply:
        """See the proto."""
        states = [state_of(state, "states") for state in request.states]
        condition = request.filter.SerializeToString(deterministic=True)
        if request.HasField("filter"):
            self.filter_of(request)
        status = self._jobs.start(JobRequest(request.model, states or LACKING, condition))
        return pb.StartEmbeddingReply(job=_job(status))

    def GetJob(self, request: pb.GetJobRequest, call: Call) -> pb.GetJobReply:  # noqa: ARG002, N802
        """See the proto."""
        return pb.GetJobReply(job=_job(self._jobs.get(_number(request.id))))

    def ListJobs(  # noqa: N802
        self,
        request: pb.ListJobsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListJobsReply:
        """See the proto."""
        return pb.ListJobsReply(jobs=map(_job, self._jobs.all()))

    def CancelJob(self, request: pb.CancelJobRequest, call: Call) -> pb.CancelJobReply:  # noqa: ARG002, N802
        """See the proto."""
        return pb.CancelJobReply(job=_job(self._jobs.cancel(_number(request.id))))


def _number(job_id: str) -> int:
    if not (job_id.isascii() and job_id.isdecimal() and len(job_id) <= MAX_DIGITS):
        raise UnknownJob(f"no job {job_id[:64]!r}")
    return int(job_id)


def _job(status: JobStatus) -> pb.Job:
    record = status.record
    state = JOB_STATES.get(record.state, pb.JOB_STATE_UNSPECIFIED)
    message = pb.Job(
        id=str(record.number),
        state=pb.JOB_STATE_WAITING if status.waiting else state,
        message=status.waiting or record.message,
        model=record.model,
        fingerprint=record.fingerprint,
        states=[STATES[EmbeddingState(each)] for each in record.states],
        created=_time(record.created),
        done=record.done,
        failed=record.failed,
        remaining=status.remaining,
        skipped=record.skipped,
        items_per_second=status.rate,
    )
    if record.condition:
        message.filter.ParseFromString(record.condition)
    if record.finished:
        message.finished.CopyFrom(_time(record.finished))
    return message


def _time(milliseconds: int) -> Timestamp:
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)
