"""`python -m euclidesdb_server.worker FD`: run by `models/worker_process.py`, not by people."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import threading
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.system.worker_protocol import receive_message, send_message, shut_down

if TYPE_CHECKING:
    from euclidesdb_server.worker.decoded import DecodedItems

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def main() -> int:
    """Load the model that the parent names, say so, and serve it."""
    _outlive_signals_but_not_the_parent()
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s worker[{os.getpid()}] %(message)s"
    )
    warnings.filterwarnings("ignore", module="PIL")  # of every odd image that clients send
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        message, _ = receive_message(connection)
        if message["type"] == "share":
            _shared(connection)
        else:
            return _serve(connection, message, None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has gone
    return 0


def _serve(
    connection: Connection[Any, Any], load: dict[str, Any], decoded: DecodedItems | None
) -> int:
    """Load a model, say so, and serve it until its connection closes."""
    _limit_memory(load["conf"]["memory_limit_mib"])
    # only now that no signal can end us: torch takes seconds to import
    from euclidesdb_server.worker.loading import load_program  # noqa: PLC0415
    from euclidesdb_server.worker.pipeline import Pipeline  # noqa: PLC0415

    try:
        program = load_program(load)
    except Exception as error:  # foreign code, and other models may share this process
        if not isinstance(error, ModelLoadError):
            logging.exception("the model cannot be loaded")
        send_message(connection, {"type": "failed", "reason": str(error) or repr(error)})
        return 1
    send_message(connection, {"type": "ready"})
    Pipeline(connection, program, decoded).run()
    return 0


def _shared(control: Connection[Any, Any]) -> None:
    """Serve several models, each on a connection of its own, until the parent closes `control`."""
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
        pass  # nobody needs this model any more
    except Exception:
        logging.exception("a model's part of this process ends")
    finally:
        with suppress(OSError):
            shut_down(connection)
        connection.close()


def _limit_memory(mebibytes: int) -> None:
    """Have allocations fail at the limit; and where the machine runs out, the kernel end us
    rather than the server.
    """
    if mebibytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes << 20, hard))
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _outlive_signals_but_not_the_parent() -> None:
    # Ctrl-C and a supervisor's SIGTERM reach the whole group: the parent stops us, once the
    # calls that wait for us are answered.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        # A forward pass that hangs never looks at the pipe: have the kernel end us.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # No interpreter shutdown: torch's threads have nothing to save, and can hang it.
    os._exit(main())
