"""EngineTrials: tries engines with their options in a child process, before vectors depend on them.

An option may be valid and yet never work: faiss's `HNSW0` aborts at the first build, `NSG0` never
ends. So an index of random rows is built, saved, loaded and searched (`builder/trial.py`), once for
each engine, options and length of vectors. Engines that build nothing are not tried.
"""

from __future__ import annotations

import json
import logging
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from euclidesdb_server.engines.engine_reference import described, reference, refused
from euclidesdb_server.engines.protocol import SearchEngine, needs_build
from euclidesdb_server.system.child_process import python_command
from euclidesdb_server.system.job_process import JobProcess, Outcome

COMMAND: Final = python_command("euclidesdb_server.builder")
PROCESSOR_SECONDS: Final = 20
"""Processor time that a trial may take; most take less than a tenth of a second. It is not the time
on the clock, so a busy machine does not fail a trial."""
TIMEOUT: Final = 120.0
"""Seconds for the trials of one process: one may wait forever without taking processor time."""
MEMORY_MIB: Final = 1024
"""Memory that a trial may take, in MiB; most take a few."""
FILE_MIB: Final = 1024
"""Size that a file of a trial may have, in MiB."""

_NO_FAULT_OF_THE_ENGINE: Final = (signal.SIGKILL, signal.SIGBUS)
"""The system has no memory left, or an operator stepped in; a disk is full under a mapped file."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """An engine with its options, and the length of the vectors that it is to index."""

    engine: SearchEngine
    dim: int

    @property
    def key(self) -> str:
        """The same for all that are tried alike."""
        return json.dumps([reference(self.engine), self.dim], sort_keys=True)


class EngineTrials:
    """The trials of one server and their outcomes. Thread-safe."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """command: of the child process."""
        self._child = JobProcess(command)
        self._lock = threading.Lock()
        self._refusals: dict[str, str | None] = {}

    def refusals(self, cases: Sequence[Case]) -> list[str | None]:
        """For each case, why the options cannot work; None: they can.

        A reason names section, keys and values. All that were not tried before share one process,
        unless it crashes. A trial that cannot be made, because a disk is full or no process can be
        started, refuses nothing: builds run in processes of their own.
        """
        with self._lock:
            untried = {
                case.key: case
                for case in cases
                if needs_build(case.engine) and case.key not in self._refusals
            }
            waiting = list(untried.values())
            while waiting:
                waiting = self._try(waiting)
            return [self._refusals.get(case.key) for case in cases]

    def _try(self, cases: list[Case]) -> list[Case]:
        """Try cases until one ends the process; returns those that come after it."""
        try:
            with tempfile.TemporaryDirectory(
                prefix="euclidesdb-trial-", ignore_cleanup_errors=True
            ) as folder:
                outcome = self._child.run(
                    {
                        "trials": [
                            {"engine": reference(case.engine), "dim": case.dim} for case in cases
                        ],
                        "folder": folder,
                        "processor_seconds": PROCESSOR_SECONDS,
                        "memory_mib": MEMORY_MIB,
                        "file_mib": FILE_MIB,
                    },
                    threads=1,
                    timeout=TIMEOUT,
                )
        except OSError as error:
            log.warning("search engines could not be tried: %s", error)
            return []
        for case, result in zip(cases, outcome.results, strict=False):
            self._note(case, result)
        left = cases[len(outcome.results) :]
        if left:
            self._note_the_end(left[0], outcome)
        return left[1:]

    def _note(self, case: Case, result: dict[str, Any]) -> None:
        if "untried" in result:
            self._warn(case, result["untried"])
        else:
            self._refusals[case.key] = result["refused"]

    def _note_the_end(self, case: Case, outcome: Outcome) -> None:
        """Note what a process that ended in the trial of `case` says about it."""
        reason = outcome.failure or "it gave no result"
        if outcome.signal in _NO_FAULT_OF_THE_ENGINE:
            self._warn(case, reason)
            return
        if outcome.signal == signal.SIGXCPU:
            reason = f"it took more than {PROCESSOR_SECONDS} s of processor time"
        elif outcome.signal == signal.SIGXFSZ:
            reason = f"it wrote a file of more than {FILE_MIB} MiB"
        self._refusals[case.key] = refused(case.engine, case.dim, reason)

    def _warn(self, case: Case, reason: str) -> None:
        log.warning(
            "%s for vectors of %d could not be tried: %s", described(case.engine), case.dim, reason
        )
