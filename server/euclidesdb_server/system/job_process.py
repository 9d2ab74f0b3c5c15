"""A job in a child process: JSON goes in, lines of JSON come out, and the child can do no harm.

The child may crash, hang, print, or send garbage: each is an `Outcome` with a failure in words.
It knows nothing of what the jobs are about.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

from euclidesdb_server.system.child_process import environment, how_it_ended

CHECK_INTERVAL: Final = 0.1
"""Seconds between checks whether the job is still wanted and within its time."""
EXIT_TIMEOUT: Final = 5.0
"""Seconds for the child to exit after it closed the descriptor of its results."""
MAX_RESULT_BYTES: Final = 1 << 20
KEPT_OUTPUT: Final = 4096
"""Bytes of what the child printed last: libraries say there why they abort."""
MAX_LINE: Final = 400


class JobCancelled(Exception):
    """The job is no longer wanted; its process is gone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a child answered until it ended.

    results: one for each whole line. failure: why it ended as it should not have; None: it ended
    well. signal: what killed it, unless it was this side; None: nothing did.
    """

    results: Sequence[Any]
    failure: str | None = None
    signal: int | None = None


class JobProcess:
    """Runs jobs, each in a process of its own. Thread-safe.

    command: of the child. The descriptor to write results to and our process id are appended.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    def run(
        self,
        job: Mapping[str, Any],
        *,
        threads: int,
        timeout: float,
        cancelled: threading.Event | None = None,
    ) -> Outcome:
        """Send `job` to a new child's standard input, and wait for its end.

        threads: how many it computes with. timeout: seconds after which it is killed.

        Raises JobCancelled once `cancelled` is set, OSError if no process can be started.
        """
        with ExitStack() as opened:
            reading, writing = os.pipe()
            opened.callback(os.close, reading)
            try:
                process = subprocess.Popen(  # noqa: S603  # our own module
                    [*self._command, str(writing), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                    env=environment(threads),
                )
            finally:
                os.close(writing)
            opened.enter_context(process)
            opened.callback(process.kill)  # before `process` is waited for
            conversation = _Conversation(process, reading, json.dumps(job).encode())
            opened.callback(conversation.close)
            failure = conversation.hold(time.monotonic() + timeout, cancelled)
            return conversation.outcome(failure or "", timeout)


class _Conversation:
    """What is sent to a child and received from it, until it ends or must be ended."""

    def __init__(self, process: subprocess.Popen[bytes], reading: int, job: bytes) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process needs pipes")
        self._process = process
        self._stdin: IO[bytes] = process.stdin
        self._output_pipe = process.stdout.fileno()
        self._reading = reading
        self._unsent = job
        self._results = b""
        self._output = b""
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._stdin.fileno(), self._output_pipe, reading):
            os.set_blocking(descriptor, False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        self._selector.register(self._output_pipe, selectors.EVENT_READ)
        self._selector.register(reading, selectors.EVENT_READ)

    def close(self) -> None:
        self._selector.close()

    def hold(self, deadline: float, cancelled: threading.Event | None) -> str | None:
        """Exchange until the child closes its results; returns why it was killed, if it was.

        Raises JobCancelled.
        """
        while True:
            for key, _ in self._selector.select(CHECK_INTERVAL):
                if key.fileobj is self._stdin:
                    self._send()
                elif not self._receive(key.fd):
                    self._selector.unregister(key.fd)
                    if key.fd == self._reading:
                        return None
            if cancelled is not None and cancelled.is_set():
                raise JobCancelled
            if time.monotonic() > deadline:
                return "time"
            if len(self._results) > MAX_RESULT_BYTES:
                return "size"

    def outcome(self, killed_for: str, timeout: float) -> Outcome:
        """End the child, and say how it went."""
        try:
            code = self._process.wait(0 if killed_for else EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            killed_for = killed_for or "hang"
            self._process.kill()
            code = self._process.wait()
        while self._receive(self._output_pipe):
            pass
        results, malformed = _parsed(self._results)
        why_killed = {
            "time": f"it did not end within {timeout:g} s",
            "size": f"it sent more than {MAX_RESULT_BYTES} bytes as results",
            "hang": f"it did not exit within {EXIT_TIMEOUT:g} s of its last result",
        }
        if killed_for:
            return Outcome(results, why_killed[killed_for])
        if code != 0:
            words = self._last_words()
            failure = how_it_ended(code) + (f": {words}" if words else "")
            return Outcome(results, failure, signal=-code if code < 0 else None)
        return Outcome(results, "it sent something other than results" if malformed else None)

    def _send(self) -> None:
        with suppress(BlockingIOError):
            try:
                self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
            except BrokenPipeError:  # how it ended tells why
                self._unsent = b""
            if not self._unsent:
                self._selector.unregister(self._stdin)
                self._stdin.close()

    def _receive(self, descriptor: int) -> bool:
        """Take what is there; False if there is no more, now or (if it was announced) ever."""
        try:
            chunk = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        if descriptor == self._reading:
            self._results += chunk
        else:
            self._output = (self._output + chunk)[-KEPT_OUTPUT:]
        return bool(chunk)

    def _last_words(self) -> str:
        lines = self._output.decode(errors="replace").split("\n")
        return next((line.strip()[:MAX_LINE] for line in reversed(lines) if line.strip()), "")


def _parsed(text: bytes) -> tuple[list[Any], bool]:
    """The values of the whole lines up to the first that is not JSON, and whether one is not."""
    *lines, rest = text.split(b"\n")
    values = []
    for line in lines:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            return values, True
    return values, bool(rest)
