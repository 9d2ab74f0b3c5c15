"""The faults that the proofs rest on really happen, under every library that writes our files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disk_faults import DiskFaults, power_cut

WRITERS = {
    "python": "with open(root + '/a', 'wb') as file: file.write(b'x' * 5000)",
    "os": (
        "import os; file = os.open(root + '/a', os.O_WRONLY | os.O_CREAT); "
        "[os.write(file, b'x' * 5000) for _ in range(2)]"
    ),
    "numpy": "import numpy; numpy.zeros(5000).tofile(root + '/a')",
    "copy": (
        "import shutil, sys; shutil.copyfile(sys.executable, root + '/a'); "
        "shutil.copyfile(sys.executable, root + '/b')"
    ),
    "faiss": (
        "import faiss, numpy; index = faiss.IndexFlatL2(8); "
        "index.add(numpy.zeros((1000, 8), 'f4')); faiss.write_index(index, root + '/a')"
    ),
    "annoy": (
        "import annoy; forest = annoy.AnnoyIndex(8, 'euclidean'); "
        "[forest.add_item(i, [i] * 8) for i in range(1000)]; forest.build(1); "
        "forest.save(root + '/a')"
    ),
    "leveldb": (
        "import plyvel; db = plyvel.DB(root, create_if_missing=True); "
        "[db.put(b'%d' % i, b'x' * 100, sync=True) for i in range(100)]"
    ),
}


@pytest.fixture
def faults(tmp_path: Path) -> DiskFaults:
    return DiskFaults(tmp_path / "root", tmp_path / "control", traced=True)


def run(faults: DiskFaults, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"root = {str(faults.root)!r}\n{program}"],
        env=faults.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_felt_by_every_library_that_writes(faults, writer):
    faults.fill()
    failed = run(faults, WRITERS[writer])
    assert failed.returncode == 1
    assert any(text in failed.stderr for text in ("No space left", "requested and", "write error"))
    faults.make_room()
    shutil.rmtree(faults.root)
    faults.root.mkdir()
    assert run(faults, WRITERS[writer]).returncode == 0


@pytest.mark.parametrize("writer", WRITERS)
def test_a_process_is_killed_in_the_call_that_was_named(faults, writer):
    faults.kill_in(2)
    assert run(faults, WRITERS[writer]).returncode == -signal.SIGKILL
    assert faults["calls"] == 2
    assert faults.fault


def test_only_calls_of_the_kind_that_was_named_are_counted(faults):
    program = "[open(root + '/' + name, 'wb').write(b'x') for name in ('a', 'b', 'a', 'b', 'c')]"
    for calls, where, fault in ((2, "write b", "write b"), (1, "create c", "create c")):
        faults.kill_in(calls, where)
        assert run(faults, program).returncode == -signal.SIGKILL
        assert faults.fault == fault
    faults.kill_in(1, "write d")
    assert run(faults, program).returncode == 0


def test_the_parent_of_a_process_that_is_killed_is_killed_in_its_next_call(faults):
    child = "import sys; open(sys.argv[1] + '/of the child', 'wb').write(b'x')"
    program = (
        "import subprocess, sys\n"
        f"ended = subprocess.run([sys.executable, '-c', {child!r}, root])\n"
        "print(ended.returncode, flush=True)\n"
        "open(root + '/of the parent', 'wb')"
    )
    for calls, where in ((1, "write of the child"), (2, "")):
        faults.kill_in(calls, where)
        ended = run(faults, program)
        assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, f"{-signal.SIGKILL}\n")
        assert faults.fault == "write of the child"
        assert [*faults.root.iterdir()] == [faults.root / "of the child"]
        (faults.root / "of the child").unlink()


def test_the_calls_that_change_the_disk_are_listed(tmp_path):
    faults = DiskFaults(tmp_path / "data", tmp_path / "control", traced=True)
    program = (
        "import os; os.mkdir(root + '/a'); open(root + '/a/b', 'wb').write(b'x')\n"
        "os.rename(root + '/a/b', root + '/c'); os.unlink(root + '/c'); open(root + '/d', 'wb')"
    )
    assert run(faults, program).returncode == 0
    assert faults.changes() == [
        "make a", "create a/b", "write a/b", "rename c", "remove c", "create d",
    ]  # fmt: skip
    assert len(faults.changes()) == faults["calls"]
    faults.close()


def test_a_disk_fills_up_at_the_call_that_was_named(faults):
    faults.fill(3)  # after creating the file and writing once
    failed = run(faults, WRITERS["os"])
    assert failed.returncode == 0  # os.write tells how much it wrote
    assert (faults.root / "a").stat().st_size == 7500
    assert faults.fault == "write a"


def test_buffered_bytes_are_lost_if_the_disk_is_full_at_close(faults):
    # faiss does not look whether a file could be closed: what reads it must notice
    faults.fill()
    small = "import faiss; faiss.write_index(faiss.IndexFlatL2(8), root + '/a')"
    assert run(faults, small).returncode == 0
    assert (faults.root / "a").stat().st_size == 0
    assert faults.fault == "flush a"


@pytest.mark.parametrize(
    "program",
    [
        "open(root + '/a', 'w')",
        "import os; os.mkdir(root + '/a')",
        "import os; os.rename(root + '/old', root + '/a')",
        "import os; os.link(root + '/old', root + '/a')",
    ],
)
def test_new_names_can_be_made_to_need_room(faults, program):
    (faults.root / "old").touch()
    faults.fill()
    assert run(faults, program).returncode == 0
    shutil.rmtree(faults.root)
    faults.root.mkdir()
    (faults.root / "old").touch()
    faults.fill(names=True)
    failed = run(faults, program)
    assert "No space left" in failed.stderr
    assert not (faults.root / "a").exists()


def test_a_descriptor_used_again_for_something_else_is_left_alone(faults):
    faults.fill()
    program = """
import faiss, os
spare = os.dup(0)
os.close(spare)
faiss.write_index(faiss.IndexFlatL2(8), root + '/a')
other = os.memfd_create('other')
assert other == spare
assert os.write(other, b'x' * 100) == 100
"""
    done = run(faults, program)
    assert done.returncode == 0, done.stderr


def test_other_files_are_left_alone(faults, tmp_path):
    faults.fill()
    faults["kill_at"] = 1
    assert run(faults, f"open({str(tmp_path / 'other')!r}, 'wb').write(b'x')").returncode == 0


PROGRAM = """
import os
def write(name, data, sync):
    file = os.open(root + "/" + name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, data)
    if sync:
        os.fsync(file)
    return file
synced = write("synced", b"a" * 9000, True)
os.write(synced, b"b" * 9000)
write("unsynced", b"c" * 9000, False)
write("renamed.tmp", b"d", True)
os.rename(root + "/renamed.tmp", root + "/renamed")
os.unlink(root + "/old")
if {sync_folder}:
    os.fsync(os.open(root, os.O_RDONLY))
os.kill(os.getpid(), 9)
"""


def cuts(faults: DiskFaults, tmp_path: Path, *, sync_folder: bool) -> list[dict[str, bytes]]:
    """What forty power cuts at the end of the program leave."""
    (faults.root / "old").write_bytes(b"old")
    before = tmp_path / "before"
    shutil.copytree(faults.root, before)
    run(faults, PROGRAM.replace("{sync_folder}", str(sync_folder)))
    states = []
    for seed in range(40):
        after = tmp_path / f"after-{seed}"
        power_cut(faults, before, after, random.Random(seed))
        states.append({path.name: path.read_bytes() for path in after.iterdir()})
    return states


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(faults, tmp_path):
    states = cuts(faults, tmp_path, sync_folder=False)
    for state in states:
        assert state["synced"].startswith(b"a" * 9000)
        assert ("renamed" in state) != ("renamed.tmp" in state)
        assert state.get("old", b"old") == b"old"
        # names change in order
        assert "old" in state or "renamed" in state
        assert state.get("renamed", b"d") == b"d"
    assert len({state["synced"] for state in states}) > 3
    assert {"old" in state for state in states} == {True, False}
    assert {"renamed" in state for state in states} == {True, False}
    assert {"unsynced" in state for state in states} == {True, False}
    assert any(state["synced"].strip(b"ab") for state in states), "no block was torn"


def test_what_a_synced_folder_names_survives(faults, tmp_path):
    for state in cuts(faults, tmp_path, sync_folder=True):
        assert {"synced", "unsynced", "renamed"} == state.keys()


def test_a_file_that_a_cut_left_over_may_be_written_anew(faults, tmp_path):
    (faults.root / "left over").write_bytes(b"garbage")
    before = tmp_path / "before"
    shutil.copytree(faults.root, before)
    program = """
import os
file = os.open(root + '/left over', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(file, b'new')
os.fsync(file)
os.write(file, b' and unsynced')
os.kill(os.getpid(), 9)
"""
    run(faults, program)
    for seed in range(20):
        after = tmp_path / f"after-{seed}"
        power_cut(faults, before, after, random.Random(seed))
        assert (after / "left over").read_bytes().startswith(b"new")


def test_the_shim_needs_no_more_than_a_compiler():
    assert shutil.which(os.environ.get("CC", "cc"))
