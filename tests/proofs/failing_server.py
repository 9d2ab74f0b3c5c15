"""A server of one space of vectors on a disk that fails on demand."""

from __future__ import annotations

import random
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import euclidesdb
from tests.proofs.writers import DIM, MODEL, check_stored, write_for_a_while
from tests.support.disk_faults import DiskFaults
from tests.support.ledger import Ledger
from tests.support.processes import ServerProcess

ENGINES = ("exact", "faiss", "annoy")

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = {engine}
[models]
dir_path = {models}
[database]
db_path = {data}
sync = {sync}
[faiss]
index_type = HNSW8
[annoy]
metric = l2
[index]
compact_rows = 40
recall_interval = 0.01
"""


class FailingServer:
    """Starts servers one after the other on one data folder, `faults.root`.

    deaths: how often each thing was under way when a server was killed.
    """

    def __init__(
        self, folder: Path, *, engine: str = "exact", sync: bool = True, traced: bool = False
    ) -> None:
        model = folder / "models" / MODEL
        model.mkdir(parents=True)
        (model / "model.conf").write_text(
            f"[model]\nname = {MODEL}\ninput = vector\nfeature_dim = {DIM}\n"
        )
        self.data = folder / "data"
        self.faults = DiskFaults(self.data, folder / "faults", traced=traced)
        self.log = folder / "log"
        self.deaths: Counter[str] = Counter()
        self._conf = folder / "euclidesdb.conf"
        self._conf.write_text(
            CONFIG.format(engine=engine, models=model.parent, data=self.data, sync=sync)
        )

    def start(self) -> ServerProcess:
        """A server process; it may die before it serves."""
        return ServerProcess("-c", self._conf, log=self.log, environment=self.faults.environment)

    def address(self, process: ServerProcess) -> str | None:
        """Where it serves; None where it was killed before."""
        try:
            return process.address()
        except AssertionError:
            assert process.exit_code() == -signal.SIGKILL, self.log.read_text()
            self._count_death("starting: ")
            return None

    def write_until_killed(
        self, process: ServerProcess, address: str, ledger: Ledger, chance: random.Random
    ) -> None:
        """Write until the disk kills the server or, where it is not going to, a timer does."""
        writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
        if not self.faults["kill_at"]:
            killer = threading.Timer(chance.uniform(0.02, 0.6), process.kill)
            killer.start()
            killer.join()
        assert process.exit_code(timeout=60) == -signal.SIGKILL, self.log.read_text()
        self._count_death()
        for writer in writers:
            writer.stop()

    def write_and_stop(
        self, process: ServerProcess, address: str, ledger: Ledger, chance: random.Random
    ) -> None:
        """Write for a moment, and stop the server in order."""
        writers = write_for_a_while(ledger, address, chance.randrange(1 << 30))
        threading.Event().wait(chance.uniform(0.02, 0.3))
        process.send(signal.SIGTERM)
        assert process.exit_code(timeout=60) == 0, self.log.read_text()
        for writer in writers:
            writer.stop()

    def kind_of_fault(self) -> str:
        """What the disk failed in, without numbers: "write leveldb/N.log"."""
        return re.sub(r"\d+", "N", self.faults.fault)

    def _count_death(self, when: str = "") -> None:
        what = self.kind_of_fault() if self.faults["kill_at"] else "at a random moment"
        self.deaths[when + what] += 1


def check(ledger: Ledger, address: str, *, last_may_be_lost: bool = False) -> int:
    """`check_stored` of the server at that address."""
    with euclidesdb.Client(address, timeout=30) as client:
        return check_stored(ledger, client, last_may_be_lost=last_may_be_lost)


def after_some_calls(chance: random.Random) -> int:
    """So many calls that change the disk; few as likely as many."""
    return int(10 ** chance.uniform(0, 3))


def told(faults: Counter[str]) -> str:
    """Where the disk failed, a line each."""
    return "\n".join(f"{count:6} {where}" for where, count in faults.most_common())
