"""Backups and restores that are killed in any call that changes the disk, and full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import euclidesdb
from euclidesdb_server.backup.check import check_repository
from euclidesdb_server.backup.errors import BackupError
from euclidesdb_server.backup.make import make_backup
from euclidesdb_server.backup.manifest import BackupManifest, ManifestFile, manifest_of
from euclidesdb_server.backup.repository import Repository
from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store import FeatureStore
from tests.support.disk_faults import DiskFaults
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

RESTORE = """
import sys
from pathlib import Path
from euclidesdb_server.backup.repository import Repository
from euclidesdb_server.backup.restore import restore_backup
place, root = sys.argv[1], Path(sys.argv[2])
with Repository(place) as repository:
    restore_backup(repository, repository.chosen(None), root / "data", root / "models")
"""
BACKUP = """
import sys
import euclidesdb
from euclidesdb_server.backup.make import make_backup
from euclidesdb_server.backup.repository import Repository
with euclidesdb.Client(sys.argv[2]) as client, Repository(sys.argv[1], create=True) as repository:
    make_backup(client, repository, keep=2)
"""


def run(program: str, *arguments: Any, environment: Mapping[str, str]) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of a few vectors, in a segment and outside of it."""
    folder = tmp_path_factory.mktemp("server")
    save_vector_space(folder / "models")
    with start_server(
        folder / "data", folder / "models", index={"compact_rows": 5, "idle_seconds": 0}
    ) as started:
        with euclidesdb.Client(started.address) as client:
            for number in range(8):
                client.add(f"{number}", vectors={"given": [number, 1, 2]})
        yield started


@pytest.fixture(scope="module")
def backup(server, tmp_path_factory):
    """A place with one backup."""
    place = tmp_path_factory.mktemp("backups") / "place"
    make(place, server)
    return place


def make(place: Path, server: Any) -> None:
    code, err = run(BACKUP, place, server.address, environment=os.environ)
    assert code == 0, err


def calls_of(program: str, *arguments: Any, root: Path, folder: Path) -> int:
    """How many calls of a program change the disk, if nothing fails."""
    faults = DiskFaults(root, folder)
    code, err = run(program, *arguments, environment=faults.environment)
    assert code == 0, err
    calls = faults["calls"]
    faults.close()
    return calls


def is_complete(root: Path) -> bool:
    """Whether a restored database is there as a whole; otherwise there must be none."""
    if not (root / "data" / "leveldb").exists():
        return False
    assert (root / "models" / "given" / "model.conf").is_file()
    with FeatureStore(root / "data" / "leveldb") as store:
        assert sum(store.item(f"{number}") is not None for number in range(8)) == 8
        (space,) = store.spaces()
        for record in store.segments(space.number):
            folder = root / "data" / "segments" / "1" / f"{record.generation}"
            assert (folder / "manifest.json").is_file()
    return True


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.long)])
def test_a_restore_killed_in_any_call_leaves_nothing_or_all(backup, tmp_path, step):
    total = calls_of(
        RESTORE, backup, tmp_path / "0" / "new", root=tmp_path / "0", folder=tmp_path / "f"
    )
    assert is_complete(tmp_path / "0" / "new")
    complete = 0
    last = range(max(1, total - 5), total + 1)  # the renames
    for at in sorted({*range(1, total + 1, step), *last}):
        root = tmp_path / f"{at}"
        faults = DiskFaults(root, tmp_path / "faults" / f"{at}")
        faults.kill_in(at)
        code, err = run(RESTORE, backup, root / "new", environment=faults.environment)
        assert code == -signal.SIGKILL, err
        if is_complete(root / "new"):
            complete += 1
        else:
            if (root / "new" / "data" / "restoring.tmp").exists():
                with pytest.raises(DataFolderError, match=r"restore into .* was interrupted"):
                    FeatureStore(root / "new" / "data" / "leveldb")
            faults.spare()
            code, err = run(RESTORE, backup, root / "new", environment=faults.environment)
            assert code == 0, err
            assert is_complete(root / "new")
            assert not [*root.rglob("restoring.tmp")]
        faults.close()
        shutil.rmtree(root)
    assert complete < total / 2


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.long)])
def test_a_backup_killed_in_any_call_leaves_the_others_usable(server, backup, tmp_path, step):
    with euclidesdb.Client(server.address) as client:
        client.add("one more", vectors={"given": [1, 1, 1]})  # there is something to store
    at, is_killed = 1, True
    while is_killed:
        root = tmp_path / f"{at}"
        place = shutil.copytree(backup, root / "place")
        faults = DiskFaults(root, tmp_path / "faults" / f"{at}")
        faults.kill_in(at)
        code, err = run(BACKUP, place, server.address, environment=faults.environment)
        is_killed = code == -signal.SIGKILL
        assert is_killed or code == 0, err
        faults.spare()
        with Repository(str(place)) as repository:
            assert check_repository(repository).problems == []
        again_until_the_server_has_noticed(place, server, faults)
        with Repository(str(place)) as repository:
            checked = check_repository(repository)
        assert (checked.problems, checked.unneeded) == ([], 0)
        faults.close()
        shutil.rmtree(root)
        at += step
    assert at > 10


def again_until_the_server_has_noticed(place: Path, server: Any, faults: DiskFaults) -> None:
    """Back up once the server knows that the caller of the last backup is gone."""
    code, err = run(BACKUP, place, server.address, environment=faults.environment)
    while "BackupInProgress" in err:
        code, err = run(BACKUP, place, server.address, environment=faults.environment)
    assert code == 0, err


def test_a_full_disk_ends_a_backup_and_a_restore_with_an_error(server, backup, tmp_path):
    root = tmp_path / "disk"
    place = shutil.copytree(backup, root / "place")
    with euclidesdb.Client(server.address) as client:
        client.add("another", vectors={"given": [2, 2, 2]})
    faults = DiskFaults(root, tmp_path / "faults")
    faults.fill()
    code, err = run(BACKUP, place, server.address, environment=faults.environment)
    assert (code, "No space left on device" in err) == (1, True)
    code, err = run(RESTORE, backup, root / "new", environment=faults.environment)
    assert (code, "No space left on device" in err) == (1, True)
    assert not is_complete(root / "new")
    faults.make_room()
    again_until_the_server_has_noticed(place, server, faults)
    code, err = run(RESTORE, place, root / "new", environment=faults.environment)
    assert (code, is_complete(root / "new")) == (0, True), err
    with Repository(str(place)) as repository:
        assert check_repository(repository).problems == []


def test_paths_that_leave_the_folder_are_refused(backup):
    with Repository(str(backup)) as repository:
        manifest = repository.chosen(None)
        for path in ("data/../../x", "/data/x", "data//x", "other/x", "models/../x", "data"):
            forged = BackupManifest(
                manifest.id,
                manifest.created,
                [ManifestFile(path, manifest.files[0].size, manifest.files[0].sha256)],
                [],
                {},
                [],
            )
            with pytest.raises(BackupError, match="names a file"):
                manifest_of(forged.to_bytes(), "the list")


def begins(client: euclidesdb.Client) -> bool:
    """Whether the server lets a backup begin."""
    try:
        client.backup().close()
    except euclidesdb.BackupInProgress:
        return False
    return True


def test_a_storage_that_fails_in_the_middle_leaves_the_others_usable(server):
    with (
        euclidesdb.Client(server.address) as client,
        Repository("memory://failing/place", create=True) as repository,
    ):
        make_backup(client, repository)
        client.add("for the storage", vectors={"given": [3, 3, 3]})
        store, left = repository.storage.put, 0

        def put(file: Path, name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise BackupError("the storage is gone")
            store(file, name)

        repository.storage.put = put  # type: ignore[method-assign]
        failures = 0
        while len(repository.ids()) == 1:
            left = failures
            with suppress(BackupError, euclidesdb.BackupInProgress):
                make_backup(client, repository)
                break
            wait_for(lambda: begins(client), "the end of the backup")
            failures += 1
            assert check_repository(repository).problems == []
        assert failures > 1
        checked = check_repository(repository)
        assert (checked.backups, checked.problems, checked.unneeded) == (2, [], 0)
