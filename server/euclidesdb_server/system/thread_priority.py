"""Background threads give way to those that answer calls."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

NICE: Final = 10


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, and of the threads that it will start.

    Only Linux has a priority per thread; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
