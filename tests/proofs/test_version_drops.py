"""A drop killed in any call that changes the disk leaves the whole version, or a drop to finish."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from euclidesdb_server.__main__ import main as command
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from tests.support.disk_faults import DiskFaults
from tests.support.versions import MODEL, OLD, make, names, opened, vectors

ROOT = Path(__file__).resolve().parents[2]
ROWS = 2500
"""Three batches."""
SHORT_SHARE = 3
SMALL, DEFAULT = 64 << 10, WRITE_BUFFER_BYTES
"""Sizes of LevelDB's write buffer: the small one is full several times."""


@pytest.fixture
def filled(tmp_path, write_buffer_bytes):
    folder = tmp_path / "filled"
    make(folder, rows=ROWS, write_buffer_bytes=write_buffer_bytes)
    return folder


def drop(faults, write_buffer_bytes):
    """Drop the version, or finish its drop, in a process that the disk may kill."""
    command = [sys.executable, "-m", "tests.support.versions", faults.root, write_buffer_bytes]
    return subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env=faults.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def killed(filled, folder, call, write_buffer_bytes):
    """A copy of the data folder whose drop is killed in that call; where, or None if it ended."""
    faults = DiskFaults(folder / "data", folder / "faults")
    shutil.copytree(filled, faults.root, dirs_exist_ok=True)
    faults.kill_in(call)
    ended = drop(faults, write_buffer_bytes)
    where = faults.fault
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert ended.returncode or ended.stdout == "deleted\n"
    faults.close()
    return where if ended.returncode else None


def check(data, capsys, write_buffer_bytes):
    """The version is there as a whole or not at all, and everything else is as it was.

    Returns whether it was there.
    """
    verified = command(["verify", "--data", str(data)])
    assert verified == 0, capsys.readouterr().out
    query = vectors(1, seed=9)
    with opened(data, write_buffer_bytes=write_buffer_bytes) as versions:
        there = versions.old is not None
        if there:
            found = versions.models.resolve(OLD).searchable_space().search(query, 2 * ROWS)
            assert set(found.ids) == {*names(ROWS), "described"}
            versions.drop()
        assert versions.drops.wait_idle(60)
        table, data_of = versions.store.space_table, versions.store.space_data
        assert (len(table.all()), table.unfinished_drops()) == (1, [])
        assert data_of.count_rows_ever(1, lambda: None) == 0
        assert not (versions.segments / "1").exists()
        found = versions.models.resolve(MODEL).searchable_space().search(query, 2 * ROWS)
        assert set(found.ids) == {*names(ROWS // 2)}
        for item_id in ("item 0", f"item {ROWS - 1}", "described"):
            item = versions.features.get(
                item_id, Include(vectors=True, predictions=True, payload=True)
            )
            assert [each.fingerprint for each in item.embeddings] == ["new"][: item_id == "item 0"]
    assert command(["verify", "--data", str(data)]) == 0
    return there


def prove(filled, tmp_path, capsys, calls, write_buffer_bytes):
    """Kill the drop in each of these calls; returns where, and whether the version was there."""
    seen = []
    for call in calls:
        folder = tmp_path / str(call)
        where = killed(filled, folder, call, write_buffer_bytes)
        if where is None:
            break
        seen.append((where, check(folder / "data", capsys, write_buffer_bytes)))
        shutil.rmtree(folder)
    with capsys.disabled():
        whole = sum(there for _, there in seen)
        print(
            f"{len(seen)} kills with a buffer of {write_buffer_bytes >> 10} KiB: the version was "
            f"there {whole} times"
        )
    return seen


def calls_of_a_drop(filled, folder, write_buffer_bytes):
    """How many calls that change the disk an undisturbed drop makes, from the start to the end."""
    faults = DiskFaults(folder / "data", folder / "faults")
    shutil.copytree(filled, faults.root, dirs_exist_ok=True)
    ended = drop(faults, write_buffer_bytes)
    assert ended.returncode == 0, ended.stderr
    return faults["calls"]


@pytest.mark.parametrize("write_buffer_bytes", [SMALL])
def test_a_killed_drop_leaves_the_version_or_a_drop_that_is_finished_later(
    filled, tmp_path, capsys, write_buffer_bytes
):
    calls = calls_of_a_drop(filled, tmp_path / "whole", write_buffer_bytes)
    chosen = [max(1, calls * share // SHORT_SHARE) for share in range(SHORT_SHARE)]
    seen = prove(filled, tmp_path, capsys, chosen, write_buffer_bytes)
    assert {there for _, there in seen} == {True, False}


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("write_buffer_bytes", [SMALL, DEFAULT])
def test_a_drop_can_be_killed_in_every_call(filled, tmp_path, capsys, write_buffer_bytes):
    calls = calls_of_a_drop(filled, tmp_path / "whole", write_buffer_bytes)
    seen = prove(filled, tmp_path, capsys, range(1, calls + 1), write_buffer_bytes)
    assert len(seen) > 20
    assert {there for _, there in seen} == {True, False}
