"""lower_thread_priority only ever lowers a priority, whatever priority the process has."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from euclidesdb_server.system.thread_priority import NICE, lower_thread_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it per thread")

LOWEST = 19


def own_priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def lowered_from(priority: int) -> int:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), priority)
    lower_thread_priority()
    return own_priority()


@pytest.mark.parametrize("priority", [LOWEST - 1, LOWEST])
def test_a_thread_of_lower_priority_keeps_it(priority):
    before = own_priority()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lowered_from, max(priority, before)).result() == max(priority, before)
    assert own_priority() == before


def test_a_thread_of_higher_priority_gets_the_background_priority():
    before = own_priority()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lower_thread_priority).result()
        assert threads.submit(own_priority).result() == max(before, NICE)
    assert own_priority() == before
