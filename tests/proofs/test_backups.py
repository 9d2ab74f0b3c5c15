"""Backups of a server that is written to, builds and merges segments, and is killed.

Each backup is a prefix of history that has all that was acknowledged before it began; restored, it
passes `verify`, and every search, list and filter agrees with it.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

import euclidesdb
from euclidesdb_server.__main__ import main
from euclidesdb_server.backup.check import check_repository
from euclidesdb_server.backup.make import make_backup
from euclidesdb_server.backup.manifest import BackupManifest
from euclidesdb_server.backup.repository import Repository
from euclidesdb_server.backup.restore import restore_backup
from tests.proofs.failing_server import DEFAULT, ENGINES, SMALL, FailingServer, check
from tests.proofs.writers import (
    MODEL,
    check_columns,
    check_searches,
    stored_version,
    write_for_a_while,
)
from tests.support.ledger import Ledger
from tests.support.servers import start_server

KEPT = 3


class Backups:
    """Backs up one server after the other on one data folder; `counts` is what came of it."""

    def __init__(self, folder: Path, seed: int, buffer_kib: int) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._folder = folder
        self._place = str(folder / "place")
        engine = ENGINES[seed % len(ENGINES)]
        self._server = FailingServer(
            folder, engine=engine, sync=seed % 3 != 2, buffer_kib=buffer_kib
        )
        self._ledger = Ledger()

    def back_up(self, *, kill: bool) -> None:
        """Back up while writers write. kill: the server, in the middle of it."""
        self._server.faults.spare()
        with self._server.start() as process:
            address = process.address()
            check(self._ledger, address)
            writers = write_for_a_while(self._ledger, address, self._chance.randrange(1 << 30))
            if kill:
                self._server.kill_later(self._chance)
            began = self._ledger.clock
            manifest = self._made(address)
            written = self._ledger.clock - began
            process.kill()
            for writer in writers:
                writer.stop()
        self.counts["backups" if manifest else "killed"] += 1
        self.counts["writes meanwhile"] += written
        with Repository(self._place, create=True) as repository:
            if repository.ids():
                assert check_repository(repository).problems == []
        if manifest is not None:
            self._check(manifest, began)

    def rewrites(self) -> Counter[str]:
        return self._server.rewrites()

    def _made(self, address: str) -> BackupManifest | None:
        try:
            with (
                euclidesdb.Client(address) as client,
                Repository(self._place, create=True) as repository,
            ):
                return make_backup(client, repository, keep=KEPT).manifest
        except (euclidesdb.Unavailable, euclidesdb.Cancelled):
            assert self._server.faults["kill_at"]
            return None

    def _check(self, manifest: BackupManifest, began: int) -> None:
        restored = self._folder / "restored"
        with Repository(self._place) as repository:
            restore_backup(repository, manifest, restored / "data", restored / "models")
        assert main(["verify", "--data", str(restored / "data")]) == 0
        with (
            start_server(restored / "data", restored / "models", strict=True) as server,
            euclidesdb.Client(server.address) as client,
        ):
            found = {each: stored_version(client, each) for each in self._ledger.possible}
            self._ledger.check_moment(found, began)
            present = {name: version for name, version in found.items() if version is not None}
            assert [model.name for model in client.models()] == [MODEL]
            check_searches(client, present)
            check_columns(client, present)
        shutil.rmtree(restored)


@pytest.mark.parametrize("seed", [0, 2])
def test_backups_of_a_server_that_is_written_to_are_prefixes_of_history(tmp_path, seed):
    backups = Backups(tmp_path, seed, SMALL)
    for kill in (False, True, False):
        backups.back_up(kill=kill)
    print(dict(backups.counts), dict(backups.rewrites()))


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("buffer_kib", [SMALL, DEFAULT])
def test_a_hundred_backups_are_prefixes_of_history(tmp_path, buffer_kib):
    total: Counter[str] = Counter()
    for seed in range(6):
        backups = Backups(tmp_path / f"{seed}", seed, buffer_kib)
        for number in range(17):
            backups.back_up(kill=number % 3 == 1)
        total += backups.counts + backups.rewrites()
    print(dict(total))
    assert total["backups"] > 60
    assert total["writes meanwhile"] > 100
    assert total["merges"] > 5
