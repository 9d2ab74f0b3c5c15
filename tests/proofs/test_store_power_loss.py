"""The power fails while LevelDB begins a log, writes a table, compacts tables or notes it.

What is left must be a prefix of the history of writes that contains all that was synced.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from euclidesdb_server.store import FeatureStore
from tests.proofs.store_writer import progress_in, writes_in
from tests.support.disk_faults import DiskFaults, power_cut

SMALL = 64 << 10
PLACES = ("MANIFEST", ".ldb", "create leveldb", "remove leveldb")
"""Parts of the calls in which the process is killed."""
CUTS_EACH = 4
"""Power cuts at the end of each killed process: each leaves something else."""


class StoreCuts:
    """Kills one process after the other, cuts the power and checks what is left.

    lost: writes that were acknowledged without a sync and are gone.
    """

    def __init__(self, folder: Path, *, sync: bool, buffer: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._sync = sync
        self._buffer = buffer
        self.faults: Counter[str] = Counter()
        self.cuts = self.acknowledged = self.lost = 0

    def cut_in(self, calls: int, where: str) -> None:
        """Kill a process in the given call and check CUTS_EACH power cuts."""
        faults = DiskFaults(self._folder / "data", self._folder / "faults", traced=True)
        before = self._folder / "before"
        before.mkdir()
        progress = self._folder / "progress"
        faults.kill_in(calls, where)
        command = [sys.executable, "-m", "tests.proofs.store_writer", faults.root / "leveldb"]
        run = subprocess.run(
            [*map(str, command), str(progress), str(self._sync), str(self._buffer)],
            env=faults.environment,
            check=False,
            timeout=300,
        )
        assert run.returncode == -signal.SIGKILL
        self.faults[re.sub(r"\d+", "N", faults.fault)] += 1
        acknowledged, synced = progress_in(progress)
        self.acknowledged += acknowledged
        for number in range(CUTS_EACH):
            after = self._folder / "after"
            power_cut(faults, before, after, random.Random(f"{calls} {where} {number}"))
            left = writes_in(after / "leveldb", sync=self._sync, buffer=self._buffer)
            assert synced <= left <= acknowledged + 1
            self.lost += max(0, acknowledged - left)
            self.cuts += 1
            for leftover in after.parent.glob("after*"):
                shutil.rmtree(leftover)
        faults.close()
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def summary(self) -> str:
        return (
            f"{self.cuts} power cuts with sync = {self._sync} and a buffer of "
            f"{self._buffer >> 10} KiB: {self.acknowledged} writes acknowledged, {self.lost} lost\n"
            + "\n".join(f"{count:6} {where}" for where, count in self.faults.most_common())
        )


@pytest.mark.parametrize("sync", [True, False])
def test_a_power_cut_in_any_work_of_leveldb_leaves_a_prefix_of_history(tmp_path, sync):
    cuts = StoreCuts(tmp_path / "run", sync=sync, buffer=SMALL)
    for calls, where in ((14, "MANIFEST"), (25, "MANIFEST"), (9, ".ldb")):
        cuts.cut_in(calls, where)
    print(cuts.summary())


SYNC_AFTER_A_SWITCH = """
import os, signal
from pathlib import Path
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.payload import Payload
from tests.support.stores import embedding, write_item
folder = Path(root) / "leveldb"
store = FeatureStore(folder, sync=False)
space = store.open_space("model", "fingerprint", 1).number
number = 0
while len([*folder.glob("*.log")]) == 1:
    number += 1
    payload = Payload("text", os.urandom(200_000))
    write_item(store, f"{number}", {space: embedding(number)}, payload=payload)
store.sync()
print(number, len([*folder.glob("*.log")]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_sync_of_the_store_covers_the_log_before_the_one_that_leveldb_writes_to(tmp_path):
    logs = 0
    while logs != 2:  # otherwise LevelDB was quick, and had deleted the old log by then
        shutil.rmtree(tmp_path)
        faults = DiskFaults(tmp_path / "data", tmp_path / "faults", traced=True)
        (tmp_path / "before").mkdir()
        program = f"root = {str(faults.root)!r}\n{SYNC_AFTER_A_SWITCH}"
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=faults.environment,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
        )
        items, logs = map(int, run.stdout.split())
    for seed in range(8):
        after = tmp_path / f"after-{seed}"
        power_cut(faults, tmp_path / "before", after, random.Random(seed))
        with FeatureStore(after / "leveldb") as store:
            assert all(store.item(f"{number}") is not None for number in range(1, items + 1))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("buffer", [SMALL, 16 << 20])
@pytest.mark.parametrize("sync", [True, False])
def test_two_hundred_power_cuts_leave_a_prefix_of_history(tmp_path, sync, buffer):
    chance = random.Random(f"{sync} {buffer}")
    cuts = StoreCuts(tmp_path / "run", sync=sync, buffer=buffer)
    most = 60 if buffer == SMALL else 6
    while cuts.cuts < 200:
        cuts.cut_in(chance.randint(1, most), chance.choice(PLACES))
    print(cuts.summary())
