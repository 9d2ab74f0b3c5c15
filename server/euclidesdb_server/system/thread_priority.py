"""Let background threads yield the processor to the threads that answer calls."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

NICE: Final = 10
"""The nice value of a background thread."""


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, and of the threads that it will start.

    Never raises it: a process that was started under `nice -n 19` keeps that priority. Only Linux
    has a priority per thread; on other systems nothing changes.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) < NICE:
            os.setpriority(os.PRIO_PROCESS, thread, NICE)
