"""What a worker process gives up before it loads a model: privileges, the network, core dumps.

A model is a program, and a decoder may have a vulnerability, so whatever runs here may be hostile.
It gives up permanently, and for the processes that it starts,

- new privileges: a set-user-id program gives it none;
- sockets, and with them the network, the Docker daemon's socket, and the server itself but for the
  connection that it was started with; also io_uring, which makes sockets by another way;
- tracing other processes, such as the server;
- a dump of its memory, which contains items, in a file.

Files are not among this: what its user may read and write, it may. The kernel's filter for system
calls (seccomp) does it, as it needs no privileges, unlike a network namespace, which containers
and several distributions refuse.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from typing import Final

MAX_OPEN_FILES: Final = 4096

# linux/prctl.h, linux/seccomp.h, linux/filter.h, linux/bpf_common.h
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_LOAD_WORD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # in struct seccomp_data
_X32_CALLS: Final = 0x40000000
"""Numbers from here on are another way to make the system calls of x86_64."""

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_REFUSED: Final = {
    # name: x86_64, aarch64
    "socket": (41, 198),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
}


def hide_memory() -> None:
    """Let no other process of the same user read this one's memory and environment by /proc.

    For the server, whose workers are such processes. It has no effect on root, and none on the
    programs that this process starts. No core is dumped any more.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@functools.cache
def confine() -> str:
    """Give all of it up, for all threads; what could not be, and why, or nothing.

    Once for a process: further calls return the same.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    if sys.platform != "linux":
        return "its worker keeps the network: only Linux can take it"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return _failed("may get new privileges and keeps the network")
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return f"its worker keeps the network: no filter is known for the processor {machine}"
    program = _program(_ARCHITECTURES[machine], _numbers(machine))
    kept = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(kept))
    # TSYNC: for all threads
    refused = libc.syscall(
        ctypes.c_long(_SECCOMP[machine]),
        ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(_SECCOMP_FILTER_FLAG_TSYNC),
        filters,
    )
    return _failed("keeps the network") if refused != 0 else ""


def _failed(what: str) -> str:
    number = ctypes.get_errno()
    reason = os.strerror(number) if number else "another thread is in its way"
    return f"its worker {what}: the kernel refuses to take it ({reason})"


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _numbers(machine: str) -> list[int]:
    column = list(_ARCHITECTURES).index(machine)
    return [numbers[column] for numbers in _REFUSED.values()]


def _program(architecture: int, numbers: Iterable[int]) -> bytes:
    """A filter that refuses system calls, and all of another architecture, with EPERM."""
    refused = [*numbers]
    rest = len(refused) + 1  # instructions from the first comparison with a number to the refusal
    steps = [
        (_LOAD_WORD, 0, 0, _AT_ARCHITECTURE),
        (_IF_EQUAL, 0, rest + 2, architecture),
        (_LOAD_WORD, 0, 0, _AT_NUMBER),
        (_IF_AT_LEAST, rest, 0, _X32_CALLS),
        *[(_IF_EQUAL, rest - at - 1, 0, number) for at, number in enumerate(refused)],
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
