"""Runs a program that the kernel ends when the server dies.

python -P -m euclidesdb_server.system.bound_program PARENT PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import os
import sys

from euclidesdb_server.system.child_process import end_only_with_the_parent, python_command


def bound_command(*command: str) -> list[str]:
    """A command that runs `command` as long as this process lives, and the thread that starts it.

    Signals of the whole process group are ignored, unless the program handles them.
    """
    return [*python_command(__name__), str(os.getpid()), *command]


def _main() -> None:
    parent, program, *arguments = sys.argv[1:]
    end_only_with_the_parent(int(parent))
    os.execv(program, [program, *arguments])  # noqa: S606  # from our own command


if __name__ == "__main__":
    _main()
