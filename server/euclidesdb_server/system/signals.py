"""Handles the signals of a process in a thread that does nothing else.

Python runs a signal handler in the main thread, between two instructions of it: a signal that comes
just before that thread begins to wait is handled when the wait is over, which may be never. So
signals are blocked in every thread, and one thread waits for them.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


def handle_signals(handlers: Mapping[signal.Signals, Callable[[], object]]) -> None:
    """From now on, call a handler, in a thread of its own, whenever its signal comes.

    To be called by the main thread before it starts another one: threads inherit the block. A
    signal that comes while a handler runs is handled after it. Signals that the process was started
    to ignore (SIGHUP by nohup) remain ignored.
    """
    handled = {
        number: handler
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, handled)

    def wait() -> None:
        while True:
            number = signal.sigwait(handled)
            try:
                handled[signal.Signals(number)]()
            except Exception:  # the outermost loop of this thread
                log.exception("the handler of %s failed", signal.Signals(number).name)

    threading.Thread(target=wait, name="signals", daemon=True).start()
