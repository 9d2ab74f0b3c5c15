"""A disk that fails on demand under a process: `disk_faults.c`, built and steered from a test.

`power_cut` composes the folder that such a process may leave behind when the power fails. What
it assumes of a file system is what ext4, XFS and btrfs promise: syncing a file takes what was
written to it before, and its name, to disk; names change in order, and syncing a folder takes
all changes before it to disk; anything else may be there or not. Of bytes that were not synced
some may be there, and the last block of those is torn.
"""

from __future__ import annotations

import functools
import mmap
import os
import random
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
FIELDS = (
    "calls",
    "kill_at",
    "full",
    "full_at",
    "no_names",
    "sync_fails",
    "refused",
    "matched",
    "hangs",
)
FAULT = slice(8 * len(FIELDS), 8 * len(FIELDS) + 1024)
WHERE = slice(FAULT.stop, FAULT.stop + 256)
BLOCK = 4096


@functools.cache
def library() -> Path:
    """The shim, compiled once per process."""
    built = Path(tempfile.mkdtemp(prefix="disk-faults-")) / "disk_faults.so"
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return built


class DiskFaults:
    """Steers the disk of the processes that are started with `environment`.

    folder: for the control page and the trace; not below `root`, the folder that may fail.
    """

    def __init__(self, root: Path, folder: Path, *, traced: bool = False) -> None:
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "control"
        page.write_bytes(bytes(BLOCK))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), BLOCK)
        self.root = root.resolve()
        self.trace = folder / "trace"
        self.kept = folder / "trace.kept"
        self._environment = {
            "LD_PRELOAD": str(library()),
            "DISK_FAULTS_ROOT": str(self.root),
            "DISK_FAULTS_CONTROL": str(page),
            **({"DISK_FAULTS_TRACE": str(self.trace)} if traced else {}),
        }

    @property
    def environment(self) -> dict[str, str]:
        """To start a process with."""
        return {**os.environ, **self._environment}

    def __getitem__(self, name: str) -> int:
        return int(struct.unpack_from("l", self._page, 8 * FIELDS.index(name))[0])

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("l", self._page, 8 * FIELDS.index(name), value)

    @property
    def fault(self) -> str:
        """What was under way at the last fault: "write leveldb/000003.log"."""
        return self._relative(self._page[FAULT].split(b"\0")[0].decode())

    def changes(self) -> list[str]:
        """Every call of the traced process that changed the disk, as in `fault`, in order."""
        lines = self.trace.read_text().splitlines()
        return [self._relative(line[2:]) for line in lines if line.startswith("K ")]

    def fill(self, calls: int = 0, *, names: bool = False) -> None:
        """From now on, or from that many changing calls from now on, the disk is full.

        names: nor can new files and folders be created.
        """
        self._page[FAULT] = bytes(1024)
        self["refused"] = 0
        self["no_names"] = names
        if calls:
            self["full_at"] = self["calls"] + calls
        else:
            self["full"] = 1

    def make_room(self) -> None:
        """From now on there is room on the disk again."""
        self["full"] = self["full_at"] = 0

    def kill_in(self, calls: int, where: str = "", *, hangs: bool = False) -> None:
        """Kill the process in the call that changes the disk for the `calls`-th time from now.

        Other processes, as its parent, are killed in their next such call.

        where: count only calls that this is a part of, as in `fault`: "sync leveldb/MANIFEST".
        hangs: the process waits for ever in that call.
        """
        call, _, path = where.partition(" ")
        text = f"{call} {self.root / path}" if path else where
        self._page[FAULT] = bytes(1024)
        self._page[WHERE] = text.encode().ljust(256, b"\0")
        self["matched"] = 0
        self["hangs"] = hangs
        self["kill_at"] = calls if where else self["calls"] + calls

    def hang_in(self, calls: int, where: str = "") -> None:
        """The same, but the process waits for ever in that call."""
        self.kill_in(calls, where, hangs=True)

    def spare(self) -> None:
        """Stop killing and hanging."""
        self["kill_at"] = 0

    def close(self) -> None:
        """Release the control page."""
        self._page.close()

    def _relative(self, text: str) -> str:
        return text.replace(f"{self.root}/", "").replace(str(self.root), ".")


@dataclass(slots=True)
class _Change:
    """A change of names. kind: C (create), M (make a folder), R (rename) or U (unlink)."""

    kind: str
    path: str
    target: str = ""
    inode: int = 0
    durable: bool = False


@dataclass(slots=True)
class _History:
    """A trace: changes of names in order, and how much of each file was synced."""

    changes: list[_Change] = field(default_factory=list)
    synced: dict[int, int] = field(default_factory=dict)


def power_cut(faults: DiskFaults, before: Path, after: Path, chance: random.Random) -> None:
    """Make `after`: the folder as a power cut at the end of the traced process may leave it.

    before: a copy of the folder from before the process was started, all of it durable.
    """
    history = _read(faults.trace)
    live = _by_inode(faults)
    undurable = [change for change in history.changes if not change.durable]
    for change in undurable[: chance.randint(0, len(undurable))]:
        change.durable = True
    files: dict[str, int | Path] = {
        str(faults.root / path.relative_to(before)): path
        for path in before.rglob("*")
        if path.is_file()
    }
    folders = {
        str(faults.root / path.relative_to(before)) for path in before.rglob("*") if path.is_dir()
    }
    for change in history.changes:
        if change.durable:
            _apply(change, files, folders)
    after.mkdir()
    for folder in sorted(folders):
        (after / Path(folder).relative_to(faults.root)).mkdir(parents=True, exist_ok=True)
    for path, source in files.items():
        target = after / Path(path).relative_to(faults.root)
        if not target.parent.is_dir():
            continue
        if isinstance(source, Path):
            shutil.copyfile(source, target)
        elif source in live:
            target.write_bytes(_survivors(live[source], history.synced.get(source, 0), chance))
        else:
            target.write_bytes(b"")


def _read(trace: Path) -> _History:
    history = _History()
    created: dict[int, _Change] = {}
    syncs_begun: dict[int, int] = {}
    for line in trace.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        match kind:
            case "C":
                inode, _, path = rest.partition(" ")
                created[int(inode)] = _Change("C", path, inode=int(inode))
                history.synced[int(inode)] = 0
                history.changes.append(created[int(inode)])
            case "S":
                number, size = map(int, rest.split())
                history.synced[number] = max(size, history.synced.get(number, 0))
                if number in created:
                    _make_durable(created[number], history.changes)
            case "M" | "U":
                history.changes.append(_Change(kind, rest))
            case "R":
                source, _, target = rest.partition("\t")
                history.changes.append(_Change("R", source, target))
            case "B":
                syncs_begun[int(rest)] = len(history.changes)
            case "D":
                for change in history.changes[: syncs_begun[int(rest)]]:
                    change.durable = True
    return history


def _make_durable(creation: _Change, changes: list[_Change]) -> None:
    """A file's name, and those of the folders that it was made in."""
    creation.durable = True
    for change in changes:
        if change.kind == "M" and creation.path.startswith(change.path + "/"):
            change.durable = True


def _apply(change: _Change, files: dict[str, int | Path], folders: set[str]) -> None:
    path, target = change.path, change.target
    match change.kind:
        case "C":
            files[path] = change.inode
        case "M":
            folders.add(path)
        case "U":
            files.pop(path, None)
            folders.discard(path)
        case "R" if path in files:
            files[target] = files.pop(path)
        case "R" if path in folders:
            for known in [known for known in files if known.startswith(path + "/")]:
                files[target + known[len(path) :]] = files.pop(known)
            for known in [known for known in folders if (known + "/").startswith(path + "/")]:
                folders.discard(known)
                folders.add(target + known[len(path) :])


def _by_inode(faults: DiskFaults) -> dict[int, bytes]:
    """The content of every file that exists, or was removed or replaced, by inode."""
    kept = [*faults.kept.iterdir()]
    live = [path for path in faults.root.rglob("*") if path.is_file()]
    return {path.stat().st_ino: path.read_bytes() for path in [*kept, *live]}


def _survivors(content: bytes, synced: int, chance: random.Random) -> bytes:
    """The bytes that were synced, and some of the others, with a torn last block."""
    if synced >= len(content) or chance.random() < 0.3:
        return content[:synced]
    end = chance.randint(synced, len(content))
    torn = max(synced, end - end % BLOCK)
    noise = bytes(end - torn) if chance.random() < 0.5 else chance.randbytes(end - torn)
    return content[:torn] + noise
