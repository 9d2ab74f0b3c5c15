"""A server of one space of vectors on a disk that fails on demand."""

from __future__ import annotations

import random
from pathlib import Path

from ledger import DIM, MODEL
from support.disk_faults import DiskFaults
from support.processes import ServerProcess

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
    """Starts servers one after the other on one data folder, `faults.root`."""

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
        self._conf = folder / "euclidesdb.conf"
        self._conf.write_text(
            CONFIG.format(engine=engine, models=model.parent, data=self.data, sync=sync)
        )

    def start(self) -> ServerProcess:
        """A server process; it may die before it serves."""
        return ServerProcess("-c", self._conf, log=self.log, environment=self.faults.environment)


def after_some_calls(chance: random.Random) -> int:
    """So many calls that change the disk; few as likely as many."""
    return int(10 ** chance.uniform(0, 3))
