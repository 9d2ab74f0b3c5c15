"""A drop killed in any call that changes the disk leaves the whole version, or a drop to finish."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from euclidesdb_server.__main__ import main as command
from tests.support.disk_faults import DiskFaults
from tests.support.versions import MODEL, OLD, make, names, opened, vectors

ROOT = Path(__file__).resolve().parents[2]
ROWS = 2500
"""Three batches."""
SHORT_SHARE = 6


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions") / "data"
    make(folder, rows=ROWS)
    return folder


def drop(faults):
    """Drop the version, or finish its drop, in a process that the disk may kill."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.versions", str(faults.root)],
        cwd=ROOT,
        env=faults.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def killed(filled, folder, call):
    """A copy of the data folder whose drop is killed in that call; where, or None if it ended."""
    faults = DiskFaults(folder / "data", folder / "faults")
    shutil.copytree(filled, faults.root, dirs_exist_ok=True)
    faults.kill_in(call)
    ended = drop(faults)
    where = faults.fault
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert ended.returncode or ended.stdout == "deleted\n"
    faults.close()
    return where if ended.returncode else None


def check(data, capsys):
    """The version is there as a whole or not at all, and everything else is as it was.

    Returns whether it was there.
    """
    verified = command(["verify", "--data", str(data)])
    assert verified == 0, capsys.readouterr().out
    query = vectors(1, seed=9)
    with opened(data) as versions:
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
            item = versions.features.get(item_id, include_arrays=True, include_payload=True)
            assert [each.fingerprint for each in item.embeddings] == ["new"][: item_id == "item 0"]
    assert command(["verify", "--data", str(data)]) == 0
    return there


def prove(filled, tmp_path, capsys, calls):
    """Kill the drop in each of these calls; returns where, and whether the version was there."""
    seen = []
    for call in calls:
        folder = tmp_path / str(call)
        where = killed(filled, folder, call)
        if where is None:
            break
        seen.append((where, check(folder / "data", capsys)))
        shutil.rmtree(folder)
    return seen


def calls_of_a_drop(filled, folder):
    """How many calls that change the disk an undisturbed drop makes, from the start to the end."""
    faults = DiskFaults(folder / "data", folder / "faults")
    shutil.copytree(filled, faults.root, dirs_exist_ok=True)
    ended = drop(faults)
    assert ended.returncode == 0, ended.stderr
    return faults["calls"]


def test_a_killed_drop_leaves_the_version_or_a_drop_that_is_finished_later(
    filled, tmp_path, capsys
):
    calls = calls_of_a_drop(filled, tmp_path / "whole")
    chosen = [max(1, calls * share // SHORT_SHARE) for share in range(SHORT_SHARE)]
    seen = prove(filled, tmp_path, capsys, chosen)
    assert {there for _, there in seen} == {True, False}


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_drop_can_be_killed_in_every_call(filled, tmp_path, capsys):
    calls = calls_of_a_drop(filled, tmp_path / "whole")
    seen = prove(filled, tmp_path, capsys, range(1, calls + 1))
    assert len(seen) > 20
    assert {there for _, there in seen} == {True, False}
