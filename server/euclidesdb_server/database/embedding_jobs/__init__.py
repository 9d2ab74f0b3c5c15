"""Embedding jobs: a model runs over stored items in the background.

A job has its record in the store, which is written together with what the job has made: it goes on
where it was after any crash. It writes nothing for an item that has changed since it was read.
"""

from euclidesdb_server.database.embedding_jobs.job import Job, JobStatus
from euclidesdb_server.database.embedding_jobs.job_request import JobRequest
from euclidesdb_server.database.embedding_jobs.jobs import EmbeddingJobs

__all__ = ["EmbeddingJobs", "Job", "JobRequest", "JobStatus"]
