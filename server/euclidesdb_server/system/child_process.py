"""A child process of the server: the environment that it is given, and what it does at its start.

Models run in child processes, and indexes are built in them, so that a crash, a hang or a lack of
memory there harms nothing else. A child ends when the server does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

OPENMP: Final = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""By default libgomp's threads spin between parallel regions, on cores that others need. Without
any spinning, threads sleep between the layers of a large model: a single image took a ResNet-18
45 ms instead of 35. So they spin briefly: on two cores that five other processes kept busy, a
ResNet-18 on two threads took 80 ms of processor time an image, and 130 with a count of 10,000."""

KEPT_NAMES: Final = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP"),
        *("VIRTUAL_ENV", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    )
)
KEPT_PREFIXES: Final = (
    *("LC_", "PYTHON", "MALLOC_", "GLIBC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "ATEN_", "FAISS_"),
    *("TORCH", "PYTORCH_", "CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_", "HIP_", "ROCR_", "HSA_"),
    *("COVERAGE_", "COV_", "DISK_FAULTS_", "ASAN_", "LSAN_", "UBSAN_"),
)
"""The variables of the server that a child needs: of the system, Python, libraries that compute,
and tests. Others may be secrets, such as EUCLIDESDB_API_KEY and AWS_SECRET_ACCESS_KEY, which are
not a model's business."""
_SECRETS: Final = ("SECRET", "TOKEN", "PASSWORD", "CREDENTIAL")

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def python_command(module: str) -> tuple[str, ...]:
    """The beginning of a command that runs a module of ours.

    -P: a module in the folder that the server was started in must not shadow a real one.
    """
    return sys.executable, "-P", "-m", module


def environment(threads: int) -> dict[str, str]:
    """The environment of a child that computes with that many threads; it contains no secrets."""
    kept = {name: value for name, value in os.environ.items() if _is_kept(name)}
    return {**OPENMP, **kept, "OMP_NUM_THREADS": str(threads)}


def _is_kept(name: str) -> bool:
    if any(word in name.upper() for word in _SECRETS):
        return False
    return name in KEPT_NAMES or name.startswith(KEPT_PREFIXES)


def how_it_ended(code: int) -> str:
    """The exit of a process in words. code: as in `Popen.returncode`."""
    if code >= 0:
        return f"it exited with code {code}"
    return f"it was killed by signal {-code} ({signal.Signals(-code).name})"


def end_only_with_the_parent(parent: int | None = None) -> None:
    """To be called first in a child: only the server ends it, and the kernel when the server died.

    Ctrl-C, the end of a terminal and a supervisor's SIGTERM reach the whole process group: the
    server ends its children itself, when they have done what must be done. parent: the process id
    of the server; the child exits if that is gone already.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # children inherit what the server blocks, and the programs that this one starts should not
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        # native code that hangs never reads the connection: let the kernel end the process
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def limit_memory(mebibytes: int) -> None:
    """Make allocations of the calling process fail at the limit; 0: no limit.

    Counted is private memory that can be written; files that are mapped for reading are not.
    """
    if mebibytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes << 20, hard))


def be_killed_first() -> None:
    """Make the kernel kill this process, not the server, if the machine runs out of memory."""
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
