"""A server of one space of vectors on a disk that fails on demand."""

from __future__ import annotations

import random
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import euclidesdb
from tests.proofs.writers import DIM, MODEL, add_lasting, check_stored, write_for_a_while
from tests.support.disk_faults import DiskFaults
from tests.support.ledger import Ledger
from tests.support.processes import ServerProcess
from tests.support.waiting import wait_for

ENGINES = ("exact", "faiss", "annoy")
SMALL, DEFAULT = 64, 16384
"""Sizes of LevelDB's write buffer, in KiB: with the small one it is at work all the time."""

# Every search compares all rows: HNSW may leave a row that no path leads to, however wide the
# search.
CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = {engine}
[models]
dir_path = {models}
[database]
db_path = {data}
sync = {sync}
write_buffer_kib = {buffer_kib}
[faiss]
index_type = IVF4,Flat
nprobe = 4
[annoy]
metric = l2
search_k = 100000
[index]
compact_rows = 8
merge_factor = 2
idle_seconds = 0.2
recall_interval = 0.01
"""
CHANGES = ("make", "create", "write", "sync", "rename", "remove")
"""Calls that write or delete a segment."""
LASTING = 70
"""Items: so many that segments of them, and of all others, are of one tier."""


class FailingServer:
    """Starts servers one after the other on one data folder, `faults.root`.

    deaths: how often a server was killed during each kind of call.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: str = "exact",
        sync: bool = True,
        buffer_kib: int = DEFAULT,
        traced: bool = False,
    ) -> None:
        model = folder / "models" / MODEL
        model.mkdir(parents=True)
        (model / "model.conf").write_text(
            f"[model]\nname = {MODEL}\ninput = vector\nfeature_dim = {DIM}\n"
        )
        self.models = model.parent
        self.data = folder / "data"
        self.faults = DiskFaults(self.data, folder / "faults", traced=traced)
        self.log = folder / "log"
        self.deaths: Counter[str] = Counter()
        self._conf = folder / "euclidesdb.conf"
        self._conf.write_text(
            CONFIG.format(
                engine=engine,
                models=self.models,
                data=self.data,
                sync=sync,
                buffer_kib=buffer_kib,
            )
        )

    def start(self) -> ServerProcess:
        """A server process; it may die before it serves."""
        return ServerProcess("-c", self._conf, log=self.log, environment=self.faults.environment)

    def address(self, process: ServerProcess) -> str | None:
        """Its address; None if it was killed before it served."""
        try:
            return process.address()
        except AssertionError:
            assert process.exit_code() == -signal.SIGKILL, self.log.read_text()
            self._count_death("starting: ")
            return None

    def write_until_killed(
        self, process: ServerProcess, address: str, ledger: Ledger, chance: random.Random
    ) -> None:
        """Write until the disk kills the server or, if it is not set to, a timer does."""
        writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
        if not self.faults["kill_at"]:
            killer = threading.Timer(chance.uniform(0.02, 0.6), process.kill)
            killer.start()
            killer.join()
        assert process.exit_code(timeout=120) == -signal.SIGKILL, self.log.read_text()
        self._count_death()
        for writer in writers:
            writer.stop()

    def write_and_stop(
        self, process: ServerProcess, address: str, ledger: Ledger, chance: random.Random
    ) -> None:
        """Write for a moment, then stop the server in order."""
        writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
        threading.Event().wait(chance.uniform(0.02, 0.3))
        process.send(signal.SIGTERM)
        assert process.exit_code(timeout=60) == 0, self.log.read_text()
        for writer in writers:
            writer.stop()

    def write_until_merged(
        self, process: ServerProcess, address: str, ledger: Ledger, *, brief: bool
    ) -> None:
        """Write until segments have been merged under the load, then stop the server in order.

        The writers replace most rows of a segment before it has a neighbor to be merged with: that
        may take a minute. brief: items that stay are added meanwhile, so that it takes seconds.
        """
        before = self.rewrites()["merges"]
        writers = write_for_a_while(ledger, address, seed=0)
        with euclidesdb.Client(address, timeout=60) as client:
            while brief and self.rewrites()["merges"] == before:
                self._add_a_segment(client, ledger)
        wait_for(lambda: self.rewrites()["merges"] > before, "a merge")
        process.send(signal.SIGTERM)
        assert process.exit_code(timeout=60) == 0, self.log.read_text()
        for writer in writers:
            writer.stop()

    def _add_a_segment(self, client: euclidesdb.Client, ledger: Ledger) -> None:
        """Add items that stay, and wait until there is a segment of them."""
        flushed = self.rewrites()["flushes"]
        add_lasting(ledger, client, LASTING)
        wait_for(lambda: self.rewrites()["flushes"] > flushed, "a segment of them")

    def kill_later(self, chance: random.Random) -> None:
        """Have the server killed in any of its calls, or in one that changes a segment."""
        if chance.random() < 0.6:
            self.faults.kill_in(after_some_calls(chance))
        else:
            where = f"{chance.choice(CHANGES)} segments"
            self.faults.kill_in(int(10 ** chance.uniform(0, 1.3)), where)

    def rewrites(self) -> Counter[str]:
        """The rewrites of all servers so far, as they logged them.

        flushes, merges of several segments, and single segments that were written again.
        """
        log = self.log.read_text() if self.log.exists() else ""
        kinds = {"unindexed rows": "flushes", "1 segments": "single segments"}
        return Counter(
            kinds.get(sources, "merges")
            for sources in re.findall(r"up to label \d+, from (unindexed rows|\d+ segments)", log)
        )

    def kind_of_fault(self) -> str:
        """The call that failed, without numbers: "write leveldb/N.log"."""
        return re.sub(r"\d+", "N", self.faults.fault)

    def _count_death(self, when: str = "") -> None:
        what = self.kind_of_fault() if self.faults["kill_at"] else "at a random moment"
        self.deaths[when + what] += 1


def check(ledger: Ledger, address: str, *, last_may_be_lost: bool = False) -> int:
    """`check_stored` of the server at that address."""
    with euclidesdb.Client(address, timeout=30) as client:
        return check_stored(ledger, client, last_may_be_lost=last_may_be_lost)


def after_some_calls(chance: random.Random) -> int:
    """A random number of calls that change the disk, on a logarithmic scale."""
    return int(10 ** chance.uniform(0, 3))


def summary(faults: Counter[str]) -> str:
    """The calls in which the disk failed, one per line."""
    return "\n".join(f"{count:6} {where}" for where, count in faults.most_common())
