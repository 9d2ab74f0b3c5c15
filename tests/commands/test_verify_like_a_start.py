"""`euclidesdb verify` opens a store as a start does, also with `[database] sync = false`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from euclidesdb_server.__main__ import main
from euclidesdb_server.store import FeatureStore
from tests.support.stores import copy_of_crashed, embedding, write_item

ITEMS = 20


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A data folder as a crash leaves it: everything is in one log."""
    with FeatureStore(tmp_path / "running", sync=False) as store:
        number = store.open_space("one", "version 1", 2).number
        for index in range(ITEMS):
            write_item(store, f"{index}", {number: embedding(index, 1)}, metadata=bytes(1000))
        store.sync()
        copy_of_crashed(tmp_path / "running", tmp_path / "data" / "leveldb")
    return tmp_path / "data"


def log_of(folder: Path) -> Path:
    return max((folder / "leveldb").glob("*.log"), key=lambda log: log.stat().st_size)


def verify(folder: Path, *, sync: bool) -> int:
    configuration = folder.parent / "euclidesdb.conf"
    configuration.write_text(
        f"[models]\ndir_path = {folder.parent}\n"
        f"[database]\ndb_path = {folder}\nsync = {str(sync).lower()}\n"
    )
    return main(["verify", "--config", str(configuration)])


@pytest.mark.parametrize("sync", [True, False])
def test_a_torn_write_is_cut_off_and_not_a_problem(crashed, capsys, sync):
    with log_of(crashed).open("ab") as log:
        log.write(bytes(range(1, 200)))
    assert verify(crashed, sync=sync) == 0
    assert (
        capsys.readouterr().out == f"{ITEMS} items with {ITEMS} vectors in 1 spaces: all is well\n"
    )
    (torn,) = (crashed / "leveldb.torn").iterdir()
    assert torn.read_bytes() == bytes(range(1, 200))


def test_what_a_power_cut_took_from_writes_without_sync_is_not_a_problem(crashed, capsys):
    log = log_of(crashed)
    content = bytearray(log.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = bytes(4)
    log.write_bytes(content)
    assert verify(crashed, sync=True) == 1
    assert "damaged" in capsys.readouterr().out
    assert verify(crashed, sync=False) == 0
    output = capsys.readouterr().out
    assert output.endswith("in 1 spaces: all is well\n")
    assert 0 < int(output.split()[0]) < ITEMS
    with FeatureStore(crashed / "leveldb", sync=False) as store:
        assert store.item("0") is not None


def test_the_write_that_a_server_is_making_is_not_cut_off(crashed, capsys):
    """To another process it looks torn."""
    holder = (
        "import fcntl, sys; lock = open(sys.argv[1], 'a'); fcntl.lockf(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    log = log_of(crashed)
    with log.open("ab") as stream:
        stream.write(bytes(range(1, 200)))
    before = log.read_bytes()
    command = [sys.executable, "-c", holder, str(crashed / "leveldb" / "LOCK")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"held\n"
        for repair in ([], ["--repair"]):
            assert main(["verify", "--data", str(crashed), *repair]) == 1
            assert "in use by a running server" in capsys.readouterr().err
        process.stdin.close()
    assert log.read_bytes() == before
