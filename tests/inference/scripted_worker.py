"""A worker that follows a script: for faults that a real model does not have on demand.

The server's end is the real `WorkerProcess`; only the process behind the pipe is a thread here,
which is in no need of two seconds to import torch.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.input_kinds import ImageConf
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.restarts import Pauses
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.system.worker_protocol import receive_message, send_message
from euclidesdb_server.values.payload import Payload

FEATURE_DIM = 2
SHORT_PAUSES = Pauses(first=0.001, limit=0.01)


class Crash(Exception):
    """The process dies, of this signal."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


class Process(threading.Thread):
    """What a WorkerProcess needs of a `subprocess.Popen`."""

    def __init__(self, connection: Connection[Any, Any], script: Script) -> None:
        super().__init__(name="scripted-worker")
        self._connection = connection
        self._script = script
        self._code = 0
        self.killed = threading.Event()
        self.pid = os.getpid()
        self.start()

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.is_alive():
            raise subprocess.TimeoutExpired("scripted worker", timeout or 0)
        return self._code

    def kill(self) -> None:
        self._code = -9
        self.killed.set()

    def run(self) -> None:
        try:
            while not self.killed.is_set():
                if self._connection.poll(0.005):
                    self._script(self, self._connection)
        except (EOFError, OSError):
            pass
        except Crash as crash:
            self._code = -crash.signal_number
        finally:
            self._connection.close()


class Script:
    """Answers each item with (its value, how many shared its batch), and obeys magic items.

    `crash...` dies of SIGSEGV, `hang` never answers, `bad` is an item's own error, `gate` waits
    for the test to open the gate. batches: what it was given. senders: the threads that sent it.
    """

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.senders: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.processes: list[Process] = []
        self.failing_starts: list[Exception] = []

    def start(self, give_up: Callable[[], bool], _device: str = "cpu") -> WorkerProcess:
        """What a ServedModel calls for a new worker."""
        if self.failing_starts:
            raise self.failing_starts.pop()
        if give_up():
            raise ModelLoadError("not wanted any more")
        return ScriptedWorker(self)

    def __call__(self, process: Process, connection: Connection[Any, Any]) -> None:
        header, items = receive_message(connection)
        self.batches.append(items)
        if any(data.startswith(b"crash") for data in items):
            raise Crash(11)
        if b"hang" in items:
            process.killed.wait()
            return
        if b"gate" in items:
            self.entered.set()
            while not self.gate.wait(0.005):
                if process.killed.is_set():
                    return
        self.answer(connection, header["batch"], items)

    def answer(self, connection: Connection[Any, Any], batch: int, items: list[bytes]) -> None:
        errors = [
            {"kind": "failed", "reason": "raised", "message": "it is bad"}
            if item == b"bad"
            else None
            for item in items
        ]
        rows = [[len(item), len(items)] for item in items if item != b"bad"]
        features = np.array(rows, dtype="<f4").tobytes()
        header = {"type": "done", "batch": batch, "errors": errors}
        send_message(connection, header, [features, b""])


class ScriptedWorker(WorkerProcess):
    """A real WorkerProcess but for its process."""

    def __init__(self, script: Script) -> None:
        self._name = "scripted"
        self._connection, theirs = Pipe()
        self._process: Any = Process(theirs, script)
        self._script = script
        script.processes.append(self._process)

    def send(self, batch: int, payloads: Sequence[Payload]) -> None:
        self._script.senders.append(threading.current_thread().name)
        super().send(batch, payloads)


def serve(script: Script, *, pauses: Pauses = SHORT_PAUSES, **conf: Any) -> ServedModel:
    """A ServedModel whose workers follow the script."""
    keys: dict[str, Any] = {
        "name": "scripted", "filename": "none", "feature_dim": FEATURE_DIM, "prediction_dim": 0,
        "max_wait_ms": 0.0, "inference_timeout": 60.0,
    }  # fmt: skip
    folder = ModelFolder(ImageConf(**keys | conf), Path("none"), "fingerprint", ExactEngine())
    return ServedModel(folder, script.start, pauses=pauses)


def item(value: bytes | int) -> Payload:
    """A magic item, or one that is answered with `value`."""
    return Payload("image", value if isinstance(value, bytes) else b"x" * value)
