"""Ctrl-C, sent to the process of a command that is in the middle of many items."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import euclidesdb
from tests.support.waiting import wait_for

TEXTS = 4_000
ROWS = 12_000


class Running:
    """A command in a process of its own."""

    def __init__(self, arguments: Sequence[object], address: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "euclidesdb_server", *map(str, arguments)],
            env={**os.environ, "EUCLIDESDB_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> tuple[int, str, str]:
        """Its exit code after Ctrl-C, and what it has printed."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=200)
        assert "Traceback" not in err
        return self.process.returncode, out, err


Start = Callable[..., Running]


@pytest.fixture
def start(shared_server: str) -> Iterator[Start]:
    started: list[Running] = []

    def run(*arguments: object) -> Running:
        started.append(Running(arguments, shared_server))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def exported(db: euclidesdb.Client, tmp_path: Path) -> Path:
    """A file of many items, which are not stored."""
    ids = [f"signal-row-{row}" for row in range(ROWS)]
    attributes = [{"signal": True, "text": f"{row} " * 40} for row in range(ROWS)]
    db.add_vectors(ids, np.ones((ROWS, 3), np.float32), model="given", attributes=attributes)
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder / "items.jsonl"


def stored(db: euclidesdb.Client, prefix: str) -> int:
    return db.count({"$id": {"$prefix": prefix}})


def test_ctrl_c_stops_an_add_which_the_same_command_completes(start, db, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("".join(f"the {number} one\n" for number in range(TEXTS)))
    add = ("add", file, "--text", "lines", "--model", "words", "--id-prefix", "signal-add-")
    running = start(*add)
    wait_for(lambda: stored(db, "signal-add-"), "the first items")
    code, out, err = running.interrupt()
    added = stored(db, "signal-add-")
    assert code == 130
    assert 0 < added < TEXTS
    assert out == f"{added:,} items added\n"
    assert err.endswith("stopped; to go on, run the same command with --skip-existing\n")
    code, out, _ = start(*add, "--skip-existing").ended()
    assert code == 0
    assert out == f"{TEXTS - added:,} items added, {added:,} stored already and skipped\n"
    db.remove_many(filter={"$id": {"$prefix": "signal-add-"}})


def test_ctrl_c_stops_an_export_and_an_import_without_a_half_file(start, db, exported):
    where = ("--where", 'startswith(id(), "signal-row-")')
    running = start("export", "--to", exported, *where)
    wait_for(lambda: [*exported.parent.iterdir()], "the beginning of a file")
    code, out, err = running.interrupt()
    assert (code, out) == (130, "")
    assert err.strip() == f"stopped; nothing was written to {exported}"
    assert not [*exported.parent.iterdir()]

    assert start("export", "--to", exported, *where).ended()[0] == 0
    db.remove_many(filter={"$id": {"$prefix": "signal-row-"}})
    running = start("import", exported)
    wait_for(lambda: stored(db, "signal-row-"), "the first items")
    code, out, err = running.interrupt()
    imported = stored(db, "signal-row-")
    assert (code, out) == (130, "")
    assert 0 < imported < ROWS
    assert "stopped; to go on, run the same command" in err
    code, out, _ = start("import", exported).ended()
    assert code == 0
    found = re.fullmatch(
        r"12,000 items imported: ([\d,]+) new, ([\d,]+) stored already and unchanged\n", out
    )
    assert found is not None, out
    new, unchanged = (int(each.replace(",", "")) for each in found.groups())
    assert new + unchanged == ROWS
    assert unchanged >= imported
    db.remove_many(filter={"$id": {"$prefix": "signal-row-"}})
