"""The program `euclidesdb`: see `commands/catalog.py` for its commands.

With only the client installed it still prints its help, and names the extra that a command needs.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import metadata

from euclidesdb_server.commands.catalog import COMMANDS, DESCRIPTION, extra_of


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0 for success, 1 for an error, 2 for wrong usage."""
    if arguments is None:
        _ensure_utf8()
        arguments = sys.argv[1:]
    try:
        from euclidesdb_server.commands.command_line import run  # noqa: PLC0415  needs click

        code = run(arguments)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("euclidesdb"):
            raise
        if error.name == "click" and (not arguments or arguments[0].startswith("-")):
            return _help_without_click(arguments)
        command, extra = extra_of(arguments)
        print(
            f"euclidesdb {command} needs {error.name!r}: pip install 'euclidesdb[{extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` for example, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _ensure_utf8() -> None:
    """Start again in Python's UTF-8 mode if the locale has another encoding.

    Configurations and names of models are UTF-8: a path or a name that the locale cannot encode
    could be neither opened nor printed.
    """
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606  our own command line
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have bytes of any encoding
        sys.stdout.reconfigure(errors="backslashreplace")


def _help_without_click(arguments: list[str]) -> int:
    """The version, or the list of commands, each with the extra that it needs."""
    if "--version" in arguments:
        print(f"euclidesdb {metadata.version('euclidesdb')}")
        return 0
    print(f"Usage: euclidesdb COMMAND ...\n\n{DESCRIPTION}\n\nCommands, and what each needs:")
    for name, command in COMMANDS.items():
        extra = f"euclidesdb[{command.extra}]"
        print(f"  {name:<15}{extra:<20}{command.summary}")
    print("\nOnly the Python client is installed: pip install 'euclidesdb[cli]'")
    return 0 if "--help" in arguments else 2


if __name__ == "__main__":
    sys.exit(main())
