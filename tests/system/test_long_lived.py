"""Imports are exempt from garbage collection, and nothing else is."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from euclidesdb_server.system.long_lived import long_lived

class Node: pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

before = gc.get_freeze_count()
with long_lived():
    assert not gc.isenabled()
    import numpy
assert gc.isenabled()
assert gc.get_freeze_count() > before + 1000
later = cycle()
gc.collect()
assert later() is None
"""


def test_only_what_was_imported_is_exempt():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
