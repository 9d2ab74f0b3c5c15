"""`euclidesdb verify` opens a store as a start does, also without `[database] sync`."""

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
def sync() -> bool:
    return True


@pytest.fixture
def crashed(tmp_path: Path, sync: bool) -> Path:
    """A data folder as a crash leaves it: everything is in one log."""
    with FeatureStore(tmp_path / "running", sync=sync) as store:
        number = store.open_space("one", "version 1", 2).number
        for index in range(ITEMS):
            write_item(store, f"{index}", {number: embedding(index, 1)}, metadata=bytes(1000))
        (tmp_path / "data").mkdir()
        copy_of_crashed(tmp_path / "running", tmp_path / "data" / "leveldb")
    return tmp_path / "data"


def log_of(folder: Path) -> Path:
    return max((folder / "leveldb").glob("*.log"), key=lambda log: log.stat().st_size)


def verify(folder: Path) -> int:
    return main(["verify", "--data", str(folder)])


@pytest.mark.parametrize("sync", [True, False])
def test_a_torn_write_is_cut_off_and_not_a_problem(crashed, capsys):
    with log_of(crashed).open("ab") as log:
        log.write(bytes(range(1, 200)))
    assert verify(crashed) == 0
    output = capsys.readouterr().out
    assert output == f"{ITEMS} items with {ITEMS} vectors in 1 spaces: all is well\n"
    (torn,) = (crashed / "leveldb.torn").iterdir()
    assert torn.read_bytes() == bytes(range(1, 200))


def spoil(log: Path) -> None:
    """Lose a part in the middle, as a power cut may of what was not synced."""
    content = bytearray(log.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = bytes(4)
    log.write_bytes(content)


@pytest.mark.parametrize("sync", [False])
def test_what_a_power_cut_took_from_writes_without_sync_is_not_a_problem(crashed, capsys):
    spoil(log_of(crashed))
    assert verify(crashed) == 0
    output = capsys.readouterr().out
    assert output.endswith("in 1 spaces: all is well\n")
    assert 0 < int(output.split()[0]) < ITEMS
    with FeatureStore(crashed / "leveldb", sync=False) as store:
        assert store.item("0") is not None


def test_the_same_in_a_store_whose_writes_were_synced_is_damage(crashed, capsys):
    spoil(log_of(crashed))
    assert verify(crashed) == 1
    assert "damaged" in capsys.readouterr().out


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
