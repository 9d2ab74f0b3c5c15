"""The power fails: what was not synced is gone, or half there; what was acknowledged is not.

`tests/support/disk_faults.py` defines what a power cut loses. With `sync = false` the last writes
may be gone, from some point on: what is left is a state that the database had.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import euclidesdb
from tests.proofs.failing_server import (
    DEFAULT,
    ENGINES,
    SMALL,
    FailingServer,
    check,
)
from tests.proofs.test_kill_loop import write_euclidesdb
from tests.proofs.writers import check_searches
from tests.support.disk_faults import power_cut
from tests.support.ledger import Ledger

PARALLEL = 4


class PowerCuts:
    """Cuts the power under one server again and again.

    acknowledged: items written; lost: operations of the writers that were gone after a cut.
    """

    def __init__(self, folder: Path, seed: int, *, sync: bool, buffer_kib: int) -> None:
        self._folder = folder
        self._sync = sync
        self._chance = random.Random(seed)
        self._server = FailingServer(
            folder,
            engine=ENGINES[seed % len(ENGINES)],
            sync=sync,
            buffer_kib=buffer_kib,
            traced=True,
        )
        self._ledger = Ledger()
        self._all_synced = True
        self.lost = 0

    @property
    def acknowledged(self) -> int:
        return self._ledger.acknowledged

    @property
    def rewrites(self) -> Counter[str]:
        return self._server.rewrites()

    def run(self, cuts: int, *, brief: bool = False) -> None:
        """Power cuts while it starts, at any call or moment, and after an orderly stop.

        brief: as for `write_until_merged`, at the end.
        """
        for _ in range(cuts):
            before = self._folder / "before"
            shutil.copytree(self._server.data, before)
            self._server.faults.trace.unlink(missing_ok=True)
            way = self._chance.random()
            if way < 0.25:
                self._killed_while_it_starts()
            else:
                with self._server.start() as process:
                    address = self._checked(process.address())
                    arguments = (process, address, self._ledger, self._chance)
                    if way < 0.35:
                        self._server.write_and_stop(*arguments)
                        self._all_synced = True  # by the stop
                    else:
                        if way < 0.7:
                            self._server.kill_later(self._chance)
                        self._server.write_until_killed(*arguments)
                        self._all_synced = self._sync
            self._server.faults.spare()
            after = self._folder / "after"
            power_cut(self._server.faults, before, after, self._chance)
            for leftover in (self._server.data, before, self._server.faults.kept):
                shutil.rmtree(leftover)
            after.rename(self._server.data)
        with self._server.start() as process:
            address = self._checked(process.address())
            self._server.write_until_merged(process, address, self._ledger, brief=brief)

    def _killed_while_it_starts(self) -> None:
        self._server.faults.kill_in(self._chance.randint(1, 60))
        with self._server.start() as process:
            address = self._server.address(process)
            if address is None:
                return
            with suppress(euclidesdb.Unavailable, euclidesdb.Cancelled):
                self._checked(address)
            self._server.write_until_killed(process, address, self._ledger, self._chance)
            self._all_synced = self._sync

    def _checked(self, address: str) -> str:
        self.lost += check(self._ledger, address, last_may_be_lost=not self._all_synced)
        return address


def summary(cuts: int, sync: bool, buffer_kib: int, runs: list[PowerCuts]) -> str:
    acknowledged, lost = sum(run.acknowledged for run in runs), sum(run.lost for run in runs)
    rewrites = sum((run.rewrites for run in runs), Counter[str]())
    return (
        f"{cuts} power cuts with sync = {sync} and a buffer of {buffer_kib} KiB: "
        f"{rewrites['flushes']} flushes, {rewrites['merges']} merges, "
        f"{rewrites['single segments']} single segments written again, "
        f"{acknowledged} writes acknowledged, {lost} lost"
    )


@pytest.mark.parametrize(("sync", "buffer_kib"), [(True, SMALL), (False, DEFAULT)])
def test_power_cuts_take_nothing_that_was_promised(tmp_path, sync, buffer_kib):
    run = PowerCuts(tmp_path / "run", int(sync), sync=sync, buffer_kib=buffer_kib)
    run.run(1, brief=True)
    print(summary(1, sync, buffer_kib, [run]))


@pytest.mark.parametrize(
    ("sync", "buffer_kib", "count"),
    [
        (False, SMALL, 1),
        *(
            pytest.param(sync, buffer_kib, 10, marks=pytest.mark.long)
            for sync, buffer_kib in itertools.product((True, False), (SMALL, DEFAULT))
        ),
    ],
)
def test_after_an_orderly_stop_a_power_cut_takes_nothing(tmp_path, sync, buffer_kib, count):
    chance = random.Random(sync)
    server = FailingServer(tmp_path / "server", sync=sync, buffer_kib=buffer_kib, traced=True)
    before = tmp_path / "before"
    shutil.copytree(server.data, before)
    ledger = Ledger()
    with server.start() as process:
        server.write_and_stop(process, process.address(), ledger, chance)
    cuts = [tmp_path / f"after-{number}" for number in range(count)]
    for after in cuts:
        power_cut(server.faults, before, after, chance)
    for after in cuts:
        shutil.rmtree(server.data)
        after.rename(server.data)
        with server.start() as process:
            check(ledger, process.address())


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("buffer_kib", [SMALL, DEFAULT])
@pytest.mark.parametrize("sync", [True, False])
def test_two_hundred_power_cuts_take_nothing_that_was_promised(tmp_path, sync, buffer_kib):
    runs = [
        PowerCuts(tmp_path / str(seed), seed, sync=sync, buffer_kib=buffer_kib)
        for seed in range(10, 18)
    ]
    with ThreadPoolExecutor(PARALLEL) as threads:
        [*threads.map(lambda run: run.run(25), runs)]
    print(summary(200, sync, buffer_kib, runs))
    rewrites = sum((run.rewrites for run in runs), Counter[str]())
    assert rewrites["merges"] >= len(runs)  # each at its end
    assert rewrites["merges"] + rewrites["single segments"] >= 40


@pytest.mark.parametrize(
    ("step", "buffer_kib"),
    [
        pytest.param(3, DEFAULT, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
        pytest.param(5, SMALL, marks=[pytest.mark.long, pytest.mark.timeout(0)]),
    ],
)
def test_a_power_cut_during_a_migration_takes_nothing(tmp_path, step, buffer_kib):
    server = FailingServer(tmp_path / "server", buffer_kib=buffer_kib, traced=True)
    items = write_euclidesdb(server.data, 60)
    original, after = tmp_path / "original", tmp_path / "after"
    shutil.copytree(server.data, original)
    cuts, address = 0, None
    for calls in range(1, 10_000, step):
        server.faults.trace.unlink(missing_ok=True)
        server.faults.kill_in(calls)
        with server.start() as process:
            address = server.address(process)
        power_cut(server.faults, original, after, random.Random(calls))
        server.faults.spare()
        for leftover in (server.data, server.faults.kept):
            shutil.rmtree(leftover)
        after.rename(server.data)
        with server.start() as process, euclidesdb.Client(process.address()) as client:
            check_searches(client, items)
        cuts += 1
        if address is not None:  # it had served by then
            break
        shutil.rmtree(server.data)
        shutil.copytree(original, server.data)
    print(f"{cuts} power cuts during a migration with a buffer of {buffer_kib} KiB, nothing lost")
    assert cuts > 2
