"""The process is killed in any call that changes the disk while segments are written, merged and
deleted, and the power is cut there: what is left is the history up to that point.

`tests/proofs/segment_writer.py` has the history.
"""

from __future__ import annotations

import io
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from euclidesdb_server.__main__ import main as command
from euclidesdb_server.errors import UnknownItem
from tests.proofs.segment_writer import (
    DIM,
    MODEL,
    Place,
    metadata,
    progress_in,
    states,
    vector,
)
from tests.support.assembled import Database
from tests.support.disk_faults import DiskFaults, power_cut

ROOT = Path(__file__).resolve().parents[2]
SMALL, DEFAULT = 64 << 10, 16 << 20
CUTS_EACH = 2
"""Power cuts at the end of each killed process: each leaves something else."""
PARALLEL = 3
STATES = states()
NAMES = {name for state in STATES for name in state}
KINDS_OF_CALLS = (
    "write leveldb/N.log",
    "sync leveldb/N.log",
    "write leveldb/N.ldb",
    "make segments/N/N.tmp",
    "create segments/N/N.tmp/vectors.fN",
    "write segments/N/N.tmp/labels.iN",
    "sync segments/N/N.tmp/manifest.json",
    "sync segments/N/N.tmp",
    "rename segments/N/N",
    "sync segments/N",
    "remove segments/N/N/manifest.json",
    "remove segments/N/N",
)
"""Kinds of calls that the long run must have hit; so it must all others that write segments."""
MERGED_TABLE = "remove leveldb/N.ldb"
"""LevelDB does so once it has merged it with others."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changes the disk. number: of all those before it and itself.

    where, occurrence: how often those have that text in them, if that is the same each time: the
    threads of LevelDB make their calls between those of the history.
    """

    number: int
    what: str
    where: str = ""
    occurrence: int = 0

    @property
    def kind(self) -> str:
        return without_numbers(self.what)

    def kill(self, faults: DiskFaults) -> None:
        if self.where:
            faults.kill_in(self.occurrence, self.where)
        else:
            faults.kill_in(self.number)


def without_numbers(what: str) -> str:
    return re.sub(r"\d+", "N", what)


def calls_in(changes: Sequence[str]) -> list[Call]:
    calls = []
    for number, what in enumerate(changes, 1):
        where = what if " segments/" in what else ""
        occurrence = sum(where in before for before in changes[:number]) if where else 0
        calls.append(Call(number, what, where, occurrence))
    return calls


def some_of_each_kind(calls: Iterable[Call], step: int, seed: str) -> list[Call]:
    """Every step-th call of each kind, and one at least."""
    kinds: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        kinds[call.kind].append(call)
    return [
        call
        for kind, of_kind in kinds.items()
        for call in of_kind[
            random.Random(f"{seed} {kind}").randrange(min(step, len(of_kind))) :: step
        ]
    ]


class SegmentKills:
    """Kills one process after the other, and checks what is left there, and after a power cut.

    lost: writes that were acknowledged, not synced, and are gone.
    """

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder = folder
        self._place = place
        self.deaths: Counter[str] = Counter()
        self.cuts = self.acknowledged = self.lost = 0

    def calls(self) -> list[Call]:
        """The calls that change the disk in the whole history, in order."""
        faults, folder = self._started("whole", None)
        assert progress_in(folder / "progress").acknowledged == len(STATES) - 1
        check(replace(self._place, folder=faults.root), range(len(STATES) - 1, len(STATES)))
        changes = faults.changes()
        faults.close()
        return calls_in(changes)

    def kill_in(self, call: Call) -> None:
        """Kill a process in that call, if it makes so many."""
        faults, folder = self._started(str(call.number), call)
        if not faults.fault:
            return
        self.deaths[without_numbers(faults.fault)] += 1
        acknowledged, synced = progress_in(folder / "progress")
        self.acknowledged += acknowledged
        end = min(acknowledged + 2, len(STATES))  # the write in progress may be there
        for number in range(CUTS_EACH):
            after = folder / str(number) / "data"
            after.parent.mkdir()
            power_cut(faults, folder / "before", after, random.Random(f"{call.number} {number}"))
            left = check(replace(self._place, folder=after), range(synced, end))
            self.lost += max(0, acknowledged - left)
            self.cuts += 1
        check(replace(self._place, folder=faults.root), range(acknowledged, end))
        faults.close()
        shutil.rmtree(folder)

    def summary(self) -> str:
        place = self._place
        return (
            f"{place.engine}, sync = {place.sync}, a buffer of {place.buffer_bytes >> 10} KiB: "
            f"{self.deaths.total()} kills, {self.cuts} power cuts, "
            f"{self.acknowledged} writes acknowledged, {self.lost} lost\n"
            + "\n".join(f"{count:6} {where}" for where, count in self.deaths.most_common())
        )

    def _started(self, name: str, call: Call | None) -> tuple[DiskFaults, Path]:
        folder = self._folder / name
        faults = DiskFaults(folder / "data", folder / "faults", traced=True)
        (folder / "before").mkdir()
        if call is not None:
            call.kill(faults)
        place = self._place
        options = [faults.root, folder / "progress", place.engine, place.sync, place.buffer_bytes]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.proofs.segment_writer", *map(str, options)],
            cwd=ROOT,
            env=faults.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        killed = -signal.SIGKILL if faults.fault else 0
        assert ended.returncode == killed, ended.stderr
        return faults, folder


def check(place: Place, possible: range) -> int:
    """AssertionError unless the database is what one of these numbers of writes makes it.

    Returns the number. Afterwards the space is one segment, and no other is left.
    """
    with place.open() as database:
        space = database.spaces[MODEL]
        assert folders(place) == {str(each.record.generation) for each in space.segments}
        space.rewriter.verify(threading.Event())
        found = stored(database)
        left = [number for number in possible if STATES[number] == found]
        assert left, f"{found} is not the database after {possible} writes"
        check_searches(database, found)
        database.compactor.request(space)
        assert database.compactor.wait_idle(100)
        assert space.failure == ""
        check_searches(database, found)
    with place.open() as database:
        space = database.spaces[MODEL]
        assert len(space.segments) == (1 if found else 0)
        assert space.backlog()[0] == 0
        assert not len(database.store.tombstones(space.record.number))
        assert folders(place) == {str(each.record.generation) for each in space.segments}
        assert stored(database) == found
        check_searches(database, found)
    assert command(["verify", "--data", str(place.folder)]) == 0
    return left[0]


def folders(place: Place) -> set[str]:
    return {entry.name for entry in place.folder.glob("segments/*/*")}


def stored(database: Database) -> dict[str, int]:
    """The versions of the items that are stored, all of whose parts agree."""
    found = {}
    for name in NAMES:
        try:
            item = database.get(name)
        except UnknownItem:
            continue
        version = int(item.attributes_json.removeprefix('{"version":').removesuffix("}"))
        assert item.metadata == metadata(name, version)
        assert database.vectors(name) == {MODEL: vector(name, version).tolist()}
        found[name] = version
    return found


def check_searches(database: Database, found: dict[str, int]) -> None:
    """Every search finds these items, each at its own vector, and nothing else."""
    origin = [0.0] * DIM
    near = database.near(origin, MODEL, 1000)
    expected = {name: np.linalg.norm(vector(name, version)) for name, version in found.items()}
    assert {each.id: each.distance for each in near} == pytest.approx(expected, rel=1e-5)
    assert len(near) == len(found)
    for name, version in found.items():
        (nearest,) = database.near(vector(name, version).tolist(), MODEL, 1)
        assert (nearest.id, nearest.distance) == (name, 0.0)


def prove(kills: SegmentKills, calls: Iterable[Call]) -> None:
    with (
        redirect_stdout(io.StringIO()),  # of `verify`
        ThreadPoolExecutor(PARALLEL) as threads,
    ):
        [*threads.map(kills.kill_in, calls)]
    print(kills.summary())


@pytest.mark.parametrize(("sync", "buffer_bytes"), [(True, SMALL), (False, DEFAULT)])
def test_a_rewrite_may_be_killed_or_lose_its_power(tmp_path, sync, buffer_bytes):
    kills = SegmentKills(tmp_path, Place(tmp_path, "exact", sync, buffer_bytes))
    number = random.Random(f"{sync} {buffer_bytes}").randrange(100, 500)
    prove(kills, [Call(number, "")])
    assert kills.cuts == CUTS_EACH


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("engine", "sync", "buffer_bytes", "step"),
    [
        ("exact", True, SMALL, 1),
        ("exact", True, DEFAULT, 3),
        ("exact", False, SMALL, 3),
        ("exact", False, DEFAULT, 3),
        ("faiss", True, SMALL, 12),  # its child processes are killed, too
        ("faiss", True, DEFAULT, 12),
        ("faiss", False, SMALL, 12),
        ("faiss", False, DEFAULT, 12),
    ],
)
def test_a_rewrite_may_be_killed_or_lose_its_power_in_every_kind_of_call(
    tmp_path, engine, sync, buffer_bytes, step
):
    kills = SegmentKills(tmp_path, Place(tmp_path, engine, sync, buffer_bytes))
    calls = kills.calls()
    kinds = {call.kind for call in calls}
    assert (MERGED_TABLE in kinds) == (buffer_bytes == SMALL)
    prove(kills, some_of_each_kind(calls, step, f"{engine} {sync} {buffer_bytes}"))
    assert kills.cuts >= 200
    expected = {*KINDS_OF_CALLS, *(call.kind for call in calls if call.where)}
    if step == 1:
        expected |= kinds & {MERGED_TABLE}
    assert not expected - {*kills.deaths}, "nothing was ever killed there"
