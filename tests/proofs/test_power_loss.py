"""The power fails: what was not synced is gone, or half there; what was acknowledged is not.

`tests/support/disk_faults.py` says what a power cut takes.
"""

from __future__ import annotations

import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from failing_server import FailingServer, after_some_calls
from ledger import Ledger, write_for_a_while
from support.disk_faults import power_cut

import euclidesdb

ENGINES = ("exact", "faiss", "annoy")
PARALLEL = 4


def cut_again_and_again(folder: Path, seed: int, cuts: int, *, sync: bool) -> int:
    """Returns how many writes were acknowledged."""
    chance = random.Random(seed)
    server = FailingServer(folder, engine=ENGINES[seed % len(ENGINES)], sync=sync, traced=True)
    ledger = Ledger(forgiving=not sync)
    for number in range(cuts):
        before, after = folder / "before", folder / "after"
        shutil.copytree(server.data, before)
        server.faults.trace.unlink(missing_ok=True)
        with server.start() as process:
            address = process.address()
            with euclidesdb.Client(address, timeout=30) as client:
                ledger.check(client)
            if number % 2:
                server.faults.kill_in(after_some_calls(chance))
            writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
            if not number % 2:
                killer = threading.Timer(chance.uniform(0.05, 0.6), process.kill)
                killer.start()
                killer.join()
            process.exit_code(timeout=60)
            for writer in writers:
                writer.stop()
        server.faults["kill_at"] = 0
        power_cut(server.faults, before, after, chance)
        for leftover in (server.data, before, server.faults.kept):
            shutil.rmtree(leftover)
        after.rename(server.data)
    with server.start() as process, euclidesdb.Client(process.address(), timeout=30) as client:
        ledger.check(client)
    return ledger.acknowledged


@pytest.mark.parametrize("sync", [True, False])
def test_power_cuts_take_nothing_that_was_promised(tmp_path, sync):
    acknowledged = cut_again_and_again(tmp_path / "run", int(sync), 4, sync=sync)
    print(f"4 power cuts with sync = {sync}, {acknowledged} acknowledged writes")


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("sync", [True, False])
def test_two_hundred_power_cuts_take_nothing_that_was_promised(tmp_path, sync):
    with ThreadPoolExecutor(PARALLEL) as threads:
        runs = threads.map(
            lambda seed: cut_again_and_again(tmp_path / str(seed), seed, 25, sync=sync),
            range(8),
        )
        acknowledged = sum(runs)
    print(f"200 power cuts with sync = {sync}, {acknowledged} acknowledged writes")
