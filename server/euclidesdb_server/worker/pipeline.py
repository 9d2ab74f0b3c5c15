"""Pipeline: decodes the next batch while the current one is in the forward pass.

One thread reads and decodes (Pillow releases the GIL), the main thread runs the program and
replies. The queue between them holds one batch, so the number of batches that the server has in
flight bounds the memory.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from euclidesdb_server.system.worker_protocol import receive_message, send_message
from euclidesdb_server.worker.decoded import DecodedItems
from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.program import Program

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    items: list[torch.Tensor | Undecodable]


class Pipeline:
    """Serves one program over one connection.

    shared: the decoded items of all programs in this process; None: there is only this one.
    """

    def __init__(
        self, connection: Connection[Any, Any], program: Program, shared: DecodedItems | None = None
    ) -> None:
        self._connection = connection
        self._shared = shared
        self._program = program
        self._decoded: queue.Queue[_Batch | None] = queue.Queue(maxsize=1)
        self._decoders = ThreadPoolExecutor(torch.get_num_threads(), "decode")

    def run(self) -> None:
        """Serve until the parent closes the connection. Raises OSError if the parent died."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while (batch := self._decoded.get()) is not None:
            self._run(batch)

    def _read(self) -> None:
        try:
            while True:
                header, parts = receive_message(self._connection)
                if len(parts) == 1:
                    items = [self._decode(parts[0])]
                else:
                    items = [*self._decoders.map(self._decode, parts)]
                self._decoded.put(_Batch(header["batch"], items))
        except (EOFError, OSError):
            log.debug("the server closed the connection")
        except Exception:
            log.exception("the reader failed")
        finally:
            self._decoded.put(None)  # ends the process: without a reader it would only hang

    def _decode(self, data: bytes) -> torch.Tensor | Undecodable:
        inputs = self._program.inputs
        try:
            if self._shared is not None:
                return self._shared.get(data, inputs.decoding, inputs.decode)
            return inputs.decode(data)
        except Undecodable as error:
            return error
        except Exception as error:  # one item must not end the reader, and all others with it
            log.exception("an item was not decoded")
            return Undecodable(f"the item cannot be decoded: {type(error).__name__}: {error}")

    def _run(self, batch: _Batch) -> None:
        result = self._program.run([item for item in batch.items if isinstance(item, torch.Tensor)])
        run_errors = iter(result.errors)
        errors = [
            item if isinstance(item, Undecodable) else next(run_errors) for item in batch.items
        ]
        send_message(
            self._connection,
            {"type": "done", "batch": batch.number, "errors": [*map(self._described, errors)]},
            [_bytes(result.features), _bytes(result.predictions)],
        )

    def _described(self, error: Exception | None) -> dict[str, str] | None:
        if error is None:
            return None
        if isinstance(error, Undecodable):
            return {"kind": "undecodable", "message": str(error)}
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {
            "kind": "failed",
            "message": f"model {self._program.name!r} failed on this item: {lines[-1][:500]}",
        }


def _bytes(matrix: torch.Tensor) -> memoryview:
    """Little-endian float32, C order, as a matrix is in memory on every machine torch runs on."""
    return matrix.contiguous().numpy().reshape(-1).view("u1").data
