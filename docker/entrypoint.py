#!/opt/euclidesdb/bin/python
"""The image's entry point: `euclidesdb` with the arguments given.

Before `serve`, it warns if the data would not outlive the container. At the first start on a volume
it makes an API key for the operator, and prints it.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

CONFIG: Final = Path("/etc/euclidesdb/euclidesdb.conf")
KEYS_FOLDER: Final = Path("/data/keys")
MOUNTS: Final = Path("/proc/self/mountinfo")

# What engines name a volume that `docker run` made by itself: 64 hexadecimal digits.
_ANONYMOUS_VOLUME: Final = re.compile(r"/volumes/[0-9a-f]{64}(/_data)?$")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """root: the folder of the file system that is mounted. point: where. kind: such as "ext4"."""

    root: str
    point: str
    kind: str


def main(arguments: Sequence[str]) -> None:
    """Prepare the first start, then become `euclidesdb`."""
    if arguments[:1] == ["serve"]:
        config = _settings(_config_file(arguments))
        data = Path(config.get("database", {}).get("db_path", "/data"))
        why = why_lost(MOUNTS.read_text("utf-8", "surrogateescape"), data)
        if why:
            print(_warning(data, why), file=sys.stderr, flush=True)
        keys_file = Path(config.get("auth", {}).get("keys_file", ""))
        if keys_file.parent == KEYS_FOLDER and not KEYS_FOLDER.exists():
            _make_key(keys_file.name)
    os.execvp("euclidesdb", ["euclidesdb", *arguments])  # noqa: S606, S607  ours, on the PATH


def why_lost(mounts: str, data: Path) -> str:
    """Why what is written in `data` is lost with the container; empty if it is not.

    mounts: in the format of /proc/self/mountinfo.
    """
    mount = _mount_of(mounts, data)
    if mount is None or mount.kind == "overlay" or mount.point == "/":
        return "it is part of the container, and is deleted with it"
    if mount.kind in ("tmpfs", "ramfs"):
        return "it is in memory, and is gone when the container stops"
    if _ANONYMOUS_VOLUME.search(mount.root):
        return "it is a volume without a name, which another container does not get"
    return ""


def _mount_of(mounts: str, folder: Path) -> Mount | None:
    """The mount that a folder is on. The last line counts of several with the same point."""
    found = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        mount = Mount(_unescaped(fields[3]), _unescaped(fields[4]), kind)
        longer = found is None or len(mount.point) >= len(found.point)
        if longer and folder.is_relative_to(mount.point):
            found = mount
    return found


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 8)), text)


def _warning(data: Path, why: str) -> str:
    line = "*" * 78
    return (
        f"{line}\nWARNING: all items will be lost. The data folder {data} has no volume of its "
        f"own:\n{why}.\nGive it one with a name:  docker run --volume euclidesdb:/data ...\n{line}"
    )


def _config_file(arguments: Sequence[str]) -> Path:
    for at, argument in enumerate(arguments):
        if argument in ("-c", "--config") and at + 1 < len(arguments):
            return Path(arguments[at + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
    return CONFIG


def _settings(file: Path) -> dict[str, dict[str, str]]:
    """Sections of a file, read as the server does, which will judge it: to it errors are left."""
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";",), default_section="\0none"
    )
    try:
        parser.read(file, "utf-8-sig")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}
    return {name.lower(): dict(parser[name]) for name in parser.sections()}


def _make_key(file_name: str) -> None:
    """A key of the role admin, which is printed; whole or not at all."""
    new = KEYS_FOLDER.with_name(KEYS_FOLDER.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    umask = os.umask(0o077)
    new.mkdir()
    print(
        "The API key of the role admin, which is shown this once (EUCLIDESDB_API_KEY):", flush=True
    )
    made = subprocess.run(  # noqa: S603
        ["euclidesdb", "key", "create", "first", "--role", "admin", "--keys-file", new / file_name],  # noqa: S607
        check=False,
    )
    if made.returncode != 0:
        sys.exit(made.returncode)
    new.rename(KEYS_FOLDER)
    os.umask(umask)


if __name__ == "__main__":
    main(sys.argv[1:])
