"""`euclidesdb embed` runs a model over stored items; `euclidesdb jobs` shows that, or ends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click
from tqdm import tqdm

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import (
    address_option,
    complete_models,
    json_option,
    where_option,
)
from euclidesdb_server.commands.printing import print_json, print_table, printable

if TYPE_CHECKING:
    import euclidesdb

STATES: Final = ("missing", "superseded", "failed")
POLL_INTERVAL: Final = 0.5
INTERRUPTED: Final = 130


@click.command()
@click.argument("model", shell_complete=complete_models)
@where_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only items in this state; may be repeated (default: missing and superseded).",
)
@click.option("--no-wait", is_flag=True, help="Start the job, and leave it to the server.")
@address_option
@json_option
def embed(
    *,
    model: str,
    where: str | None,
    states: Sequence[str],
    no_wait: bool,
    address: str,
    as_json: bool,
) -> int:
    """Run MODEL over stored items that have no features of it.

    The server does it in the background; Ctrl-C ends the display, not the job. The exit code is 1
    if the job fails or is cancelled, or the model has failed on items.
    """
    with connected(address) as client:
        job = client.embed(model, where, state=states or STATES[:2])
        if not no_wait:
            try:
                job = _watched(client, job)
            except KeyboardInterrupt:
                print(
                    f"\njob {job.id} goes on; `euclidesdb jobs` shows it, and "
                    f"`euclidesdb jobs --cancel {job.id}` ends it",
                    file=sys.stderr,
                )
                return INTERRUPTED
    if as_json:
        print_json(_object(job))
    else:
        print(printable(f"job {job.id}: {_progress(job)}"))
    return 1 if job.failed or job.state in {"cancelled", "failed"} else 0


@click.command()
@click.option("--cancel", metavar="ID", help="End this job; what it has made stays.")
@address_option
@json_option
def jobs(*, cancel: str | None, address: str, as_json: bool) -> int:
    """List the jobs that run models over stored items; with --json, an object on each line."""
    with connected(address) as client:
        found = client.jobs() if cancel is None else (client.cancel_job(cancel),)
    if as_json:
        for job in found:
            print_json(_object(job))
    else:
        rows = [
            [job.id, printable(job.model), job.state, f"{job.created:%Y-%m-%d %H:%M}", _counts(job),
             printable(job.message)]
            for job in found
        ]  # fmt: skip
        print_table(["id", "model", "state", "created (UTC)", "items", "remark"], rows)
    return 0


def _watched(client: euclidesdb.Client, job: euclidesdb.Job) -> euclidesdb.Job:
    """The job once it is over; meanwhile a bar shows how far it is."""
    with tqdm(unit=" items", desc="embedding", leave=False, disable=None) as bar:
        while not job.is_over:
            _show(bar, job)
            time.sleep(POLL_INTERVAL)
            job = client.job(job.id)
    return job


def _show(bar: tqdm[Any], job: euclidesdb.Job) -> None:
    dealt_with = job.done + job.failed + sum(job.skipped.values())
    if job.remaining is not None:
        bar.total = dealt_with + job.remaining
    bar.set_postfix_str(f"waits: {job.message}" if job.state == "waiting" else "", refresh=False)
    bar.update(dealt_with - bar.n)
    bar.refresh()


def _progress(job: euclidesdb.Job) -> str:
    remark = f": {job.message}" if job.message else ""
    return f"{job.state}{remark} ({_counts(job)})"


def _counts(job: euclidesdb.Job) -> str:
    parts = [f"{job.done:,} done"]
    if job.failed:
        parts.append(f"{job.failed:,} failed")
    parts += [f"{count:,} skipped ({reason})" for reason, count in job.skipped.items()]
    if not job.is_over and job.remaining is not None:
        rate = f" at {job.items_per_second:,.1f}/s" if job.items_per_second else ""
        parts.append(f"{job.remaining:,} to go{rate}")
    return ", ".join(parts)


def _object(job: euclidesdb.Job) -> dict[str, Any]:
    finished = None if job.finished is None else job.finished.isoformat()
    return {**asdict(job), "created": job.created.isoformat(), "finished": finished}
