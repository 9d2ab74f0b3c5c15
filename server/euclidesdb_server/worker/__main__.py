"""`python -m euclidesdb_server.worker FD`: started by `inference/worker_process.py` only."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import TYPE_CHECKING, Any

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.system.child_process import (
    be_killed_first,
    end_only_with_the_parent,
    limit_memory,
)
from euclidesdb_server.system.confinement import confine
from euclidesdb_server.system.long_lived import long_lived
from euclidesdb_server.system.shortages import lacks_memory
from euclidesdb_server.system.worker_protocol import receive_message, send_message, shut_down

if TYPE_CHECKING:
    from euclidesdb_server.worker.decoded import DecodedItems


def main() -> int:
    """Load the model of the first message and serve it, or serve several in a shared worker."""
    end_only_with_the_parent()
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s worker[{os.getpid()}] %(message)s"
    )
    warnings.filterwarnings("ignore", module="PIL")  # about odd images that clients send
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        message, _ = receive_message(connection)
        if message["type"] == "share":
            _serve_several(connection)
        else:
            return _serve(connection, message, None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    return 0


def _serve(
    connection: Connection[Any, Any], load: dict[str, Any], decoded: DecodedItems | None
) -> int:
    """Load a model, report it ready, and serve it until its connection closes."""
    limit_memory(load["conf"]["memory_limit_mib"])
    be_killed_first()
    kept = confine() if load["confine"] else "[models] confine_workers = false: it is not confined"
    if kept:
        logging.warning("model %r: %s", load["conf"]["name"], kept)
    try:
        # only after the signals are handled: torch takes seconds to import
        with nullcontext() if "torch" in sys.modules else long_lived():
            from euclidesdb_server.worker.loading import load_program  # noqa: PLC0415
            from euclidesdb_server.worker.pipeline import Pipeline  # noqa: PLC0415

        program = load_program(load)
    except Exception as error:  # foreign code, and other models may share this process
        if not isinstance(error, ModelLoadError):
            logging.exception("the model cannot be loaded")
        failed = {"type": "failed", "reason": str(error) or repr(error)}
        send_message(connection, {**failed, "lacks_memory": lacks_memory(error)})
        return 1
    send_message(
        connection, {"type": "ready", "warning": "; ".join(filter(None, (program.warning, kept)))}
    )
    Pipeline(connection, program, decoded).run()
    return 0


def _serve_several(control: Connection[Any, Any]) -> None:
    """As a shared worker: serve each model that attaches, until the parent closes `control`.

    `control` carries the connection of each attached model.
    """
    from euclidesdb_server.worker.decoded import DecodedItems  # noqa: PLC0415

    decoded = DecodedItems()
    while True:
        connection: Connection[Any, Any] = Connection(recv_handle(control))
        threading.Thread(target=_serve_attached, args=(connection, decoded), daemon=True).start()


def _serve_attached(connection: Connection[Any, Any], decoded: DecodedItems) -> None:
    try:
        load, _ = receive_message(connection)
        _serve(connection, load, decoded)
    except (EOFError, OSError):
        pass  # the model was detached
    except Exception:
        logging.exception("an attached model is no longer served")
    finally:
        with suppress(OSError):
            shut_down(connection)
        connection.close()


if __name__ == "__main__":
    # Skip the interpreter's shutdown: torch's threads can hang it and have nothing to save.
    os._exit(main())
