"""Backups of a served space: processor time and size, next to a copy of the data folder.

    python benchmarks/backup.py [--rows 100000] [--engine exact]

The processor time is that of the server and the command together; `cp -a` copies the same folder.
The last backup is made while rows are being added.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from served_vectors import clustered, load, row, serving

import euclidesdb


def processor_seconds(server: psutil.Process) -> float:
    """Of the server, and of the commands that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = server.cpu_times()
    return float(times.user + times.system + ended.ru_utime + ended.ru_stime)


def backed_up(name: str, place: Path, address: str, server: psutil.Process) -> None:
    """Make a backup, and report what it took."""
    command = [sys.executable, "-m", "euclidesdb_server", "backup", str(place), "--json"]
    before, started = processor_seconds(server), time.perf_counter()
    printed = subprocess.check_output([*command, "--address", address])
    took = time.perf_counter() - started
    spent = processor_seconds(server) - before
    made: dict[str, Any] = json.loads(printed)
    row(
        name,
        f"{spent:.2f} s of the processors, {took:.1f} s",
        f"{made['new_bytes'] / 1e6:.1f} of {made['bytes'] / 1e6:.1f} MB are new",
        f"writes waited {made['held_seconds'] * 1e3:.1f} ms",
    )


def copied(source: Path, target: Path) -> None:
    """Copy a folder by `cp -a`, and report what it took."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.check_call(["cp", "-a", str(source), str(target)])  # noqa: S607
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    row("cp -a", f"{spent:.2f} s of the processors, {took:.1f} s", f"{size / 1e6:.1f} MB", "")


def started(*arguments: str) -> None:
    """Run a command that only starts, and report what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.check_call(
        [sys.executable, "-m", "euclidesdb_server", *arguments, "--help"], stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row("the start of the command alone", f"{spent:.2f} s of the processors", "", "")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--engine", default="exact")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, chosen.engine) as process:
            load(process, clustered(chosen.rows))
            server = psutil.Process(process.pid)
            place = folder / "place"
            started("backup")
            copied(folder / "data", folder / "copy")
            backed_up("first backup", place, process.address, server)
            backed_up("nothing changed", place, process.address, server)
            with euclidesdb.Client(process.address, timeout=600) as client:
                ids = [f"new-{number}" for number in range(chosen.rows // 100)]
                client.add_vectors(ids, clustered(len(ids), seed=5), model="vectors")
                backed_up("1 % were added", place, process.address, server)
                stop = threading.Event()
                thread = threading.Thread(target=add_until, args=(stop, client))
                thread.start()
                backed_up("while 100 rows are added at a time", place, process.address, server)
                stop.set()
                thread.join()


def add_until(stop: threading.Event, client: euclidesdb.Client) -> None:
    """Add rows, and report the longest call."""
    longest, number = 0.0, 0
    while not stop.is_set():
        ids = [f"later-{number}-{each}" for each in range(100)]
        before = time.perf_counter()
        client.add_vectors(ids, clustered(100, seed=number), model="vectors")
        longest, number = max(longest, time.perf_counter() - before), number + 1
    row("adds meanwhile", f"{number} calls", f"the longest took {longest * 1e3:.0f} ms", "")


if __name__ == "__main__":
    main()
