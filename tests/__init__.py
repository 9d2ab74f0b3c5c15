"""The tests. They compute with one OpenMP thread, as the server does.

Test processes that run next to each other would otherwise spin while they wait for cores. This
module is imported before any that loads OpenMP.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
