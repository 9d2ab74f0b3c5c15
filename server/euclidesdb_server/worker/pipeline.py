"""Pipeline: serves a program over a connection, batch by batch.

One thread reads a batch, decodes it, runs the program and replies. A second thread reads and
decodes the next batch meanwhile, unless the forward pass is so short that handing the batch over
would take longer. At most one batch is read ahead, and one whose items are large is decoded and run
in parts, so the memory is bounded.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias

import torch

from euclidesdb_server.errors import FailureReason
from euclidesdb_server.system.shortages import lacks_memory
from euclidesdb_server.system.worker_protocol import MessageReader, send_message
from euclidesdb_server.worker.decoded import DecodedItems
from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.program import BadOutput, Program

MAX_DECODED_BYTES: Final = 256 << 20
"""Of a batch's items that are decoded together: once there are more, they are run before the rest
is decoded. An image of 64 megapixels takes 768 MiB as float32, and 32 would take 24 GiB."""
SERIAL: Final = 0.001
"""Seconds of a batch's decoding up to which one thread does it: waking others would cost more."""
SMOOTHING: Final = 16
"""The number of items over which the time of decoding is averaged."""

Item: TypeAlias = torch.Tensor | Undecodable

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batch:
    """A batch. items: the first ones, decoded. rest: what has yet to be decoded; mostly nothing."""

    number: int
    items: list[Item]
    rest: Sequence[bytes]


class Pipeline:
    """Serves one program over one connection.

    shared: the decoded items of all programs in this process; None: there is only this one.
    """

    def __init__(
        self, connection: Connection[Any, Any], program: Program, shared: DecodedItems | None = None
    ) -> None:
        self._connection = connection
        self._reader = MessageReader(connection)
        self._shared = shared
        self._program = program
        self._decoders = ThreadPoolExecutor(program.threads, "decode")
        self._decoding_seconds = 0.0  # of an item, averaged
        self._wanted = queue.SimpleQueue[bool]()  # that a batch is read ahead; False: the end
        self._ahead = queue.SimpleQueue[_Batch | None]()

    def run(self) -> None:
        """Serve until the parent closes the connection. Raises OSError if the parent died."""
        threading.Thread(target=self._read_ahead, name="reader", daemon=True).start()
        try:
            batch = self._read()
            while batch is not None:
                reads_ahead = not self._program.is_short(_decoded(batch.items))
                if reads_ahead:
                    self._wanted.put(True)
                self._run(batch)
                batch = self._ahead.get() if reads_ahead else self._read()
        finally:
            self._wanted.put(False)

    def _read_ahead(self) -> None:
        while self._wanted.get():
            self._ahead.put(self._read())

    def _read(self) -> _Batch | None:
        """The next batch, decoded; None ends the process: without a reader it would only hang."""
        try:
            header, parts = self._reader.read()
            return _Batch(header["batch"], *self._decode_some(parts))
        except (EOFError, OSError):
            log.debug("the server closed the connection")
        except Exception:
            log.exception("the reader failed")
        return None

    def _decode_some(self, parts: Sequence[bytes]) -> tuple[list[Item], Sequence[bytes]]:
        """The first items, one at least, and the parts that are left."""
        sizes: list[int] = []

        def decode(position: int) -> tuple[Item, float] | None:
            if position and sum(sizes) > MAX_DECODED_BYTES:
                return None
            part = parts[position]
            item, seconds = self._decode(part)
            sizes.append(0 if isinstance(item, Undecodable) else item.nbytes)
            return item, seconds

        is_serial = len(parts) == 1 or len(parts) * self._decoding_seconds <= SERIAL
        positions = range(len(parts))
        decoded = map(decode, positions) if is_serial else self._decoders.map(decode, positions)
        items: list[Item] = []
        for outcome in decoded:
            if outcome is None:  # what another thread has decoded of the rest is decoded again
                break
            items.append(outcome[0])
            self._decoding_seconds += (outcome[1] - self._decoding_seconds) / SMOOTHING
        return items, parts[len(items) :]

    def _decode(self, data: bytes) -> tuple[Item, float]:
        """An item, and the processor time that it took."""
        inputs = self._program.inputs
        started = time.thread_time()
        try:
            if self._shared is not None:
                item = self._shared.get(data, inputs.decoding, inputs.decode)
            else:
                item = inputs.decode(data)
        except Undecodable as error:
            return error, time.thread_time() - started
        except Exception as error:  # one item must not end the reader, and all others with it
            log.exception("an item was not decoded")
            failure = Undecodable(f"the item cannot be decoded: {type(error).__name__}: {error}")
            return failure, time.thread_time() - started
        return item, time.thread_time() - started

    def _run(self, batch: _Batch) -> None:
        errors: list[Exception | None] = []
        features, predictions = [], []
        while batch.items:
            items = _decoded(batch.items)
            result = self._program.run(items)
            if len(items) == len(batch.items):
                errors += result.errors
            else:
                of_run = iter(result.errors)
                errors += [
                    item if isinstance(item, Undecodable) else next(of_run) for item in batch.items
                ]
            features.append(_bytes(result.features))
            predictions.append(_bytes(result.predictions))
            items.clear()  # before the next ones are decoded
            batch.items.clear()
            if batch.rest:
                batch.items, batch.rest = self._decode_some(batch.rest)
        send_message(
            self._connection,
            {"type": "done", "batch": batch.number, "errors": [*map(self._described, errors)]},
            [b"".join(features), b"".join(predictions)],
        )

    def _described(self, error: Exception | None) -> dict[str, str] | None:
        if error is None:
            return None
        if isinstance(error, Undecodable):
            return {"kind": "undecodable", "message": str(error)}
        reason = FailureReason.RAISED
        if isinstance(error, BadOutput):
            reason = FailureReason.INVALID_OUTPUT
        elif lacks_memory(error):
            reason = FailureReason.OUT_OF_MEMORY
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {
            "kind": "failed",
            "reason": reason.value,
            "message": f"model {self._program.name!r} failed on this item: {lines[-1][:500]}",
        }


def _decoded(items: Sequence[Item]) -> list[torch.Tensor]:
    return [item for item in items if isinstance(item, torch.Tensor)]


def _bytes(matrix: torch.Tensor) -> bytes:
    """Little-endian float32, C order, as a matrix is in memory on every machine torch runs on."""
    return matrix.numpy().tobytes()
