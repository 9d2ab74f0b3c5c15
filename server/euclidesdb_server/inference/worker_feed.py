"""WorkerFeed: what takes batches from a model's queue for one worker, and sends them to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Final

from euclidesdb_server.inference.in_flight import EmbedRequest, InFlight
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.values.payload import Payload

MAX_DIRECT_BYTES: Final = 64 << 10
"""So many fit into the socket of an idle worker, which has 208 KiB by default on Linux, so that
neither a caller nor the thread that receives results ever waits for a worker to read."""

log = logging.getLogger(__name__)


class WorkerFeed:
    """The `Taker` of one worker. Thread-safe. in_flight: what the worker has."""

    def __init__(self, conf: ProgramConf, worker: WorkerProcess, in_flight: InFlight) -> None:
        self.max_size = conf.max_batch_size
        self.max_wait = conf.max_wait_ms / 1000
        self.has_room, self.busy_for = in_flight.has_room, in_flight.busy_for
        self.add = in_flight.add
        self._in_flight = in_flight
        self._worker = worker
        self._sending = threading.Lock()
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """As `Taker.is_idle`."""
        return self._in_flight.is_idle

    def may_block(self, payloads: Iterable[Payload]) -> bool:
        """As `Taker.may_block`."""
        left = MAX_DIRECT_BYTES
        for payload in payloads:
            left -= len(payload.data)
            if left < 0:
                return True
        return False

    def send(self, number: int, batch: list[EmbedRequest]) -> None:
        """Send a batch on. If the worker is gone, its requests are those that it lost."""
        try:
            with self._sending:
                if not self._closed:
                    self._worker.send(number, [request.work for request in batch])
        except OSError:
            log.debug("the worker broke its connection; the receiver handles it")
        except Exception:  # without the memory to send, for example: as if the worker had died
            log.exception("a batch was not sent")
            self._worker.end(timeout=0)

    def close(self) -> None:
        """Send nothing more. The worker must be gone: waits for a batch that is being sent."""
        with self._sending:
            self._closed = True
