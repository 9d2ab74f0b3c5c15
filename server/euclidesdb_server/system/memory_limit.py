"""The memory that the control group of this process allows, as a container's engine sets it.

Docker's `--memory`, a limit of Kubernetes and systemd's `MemoryMax=` are such limits: the kernel
kills a process of the group when it exceeds them, whatever the machine has.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

UNLIMITED: Final = 1 << 60
"""Version 1 writes a number of about 2**63 if there is no limit."""


def memory_limit(root: Path = Path("/")) -> int | None:
    """The lowest limit in bytes, of the group and those that it is in; None: there is none.

    root: the folder that has `proc` and `sys`.
    """
    limits = []
    for file in _files(root):
        with suppress(OSError, ValueError):  # not there, or "max"
            limits.append(int(file.read_text("ascii")))
    lowest = min(limits, default=UNLIMITED)
    return lowest if 0 < lowest < UNLIMITED else None


def _files(root: Path) -> list[Path]:
    """Those that may have a limit, of both versions of control groups.

    In a container the group's own folder is mounted at the top, while its name may be another
    one's view, so what does not exist is skipped.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            top, limit = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, limit = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        path = Path(name.lstrip("/"))
        files += [top / folder / limit for folder in (path, *path.parents)]
    return files
