"""The folder of a LevelDB is locked before anything in it is read or changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.leveldb import LevelDB
from tests.support.leveldb_logs import log_of

HOLDER = """
import sys
from pathlib import Path
from euclidesdb_server.store.leveldb import LevelDB
database = LevelDB(Path(sys.argv[1]), sync=True)
batch = database.batch()
batch.put(b"key", b"value")
database.write(batch, "putting")
print("open", flush=True)
sys.stdin.read()
database.close()
"""


def test_the_log_of_another_process_is_left_alone_in_the_midst_of_a_write(tmp_path: Path):
    folder = tmp_path / "leveldb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        log = log_of(folder)
        content = log.read_bytes() + b"the beginning of a record"
        log.write_bytes(content)
        with pytest.raises(DataFolderError, match="in use by another server"):
            LevelDB(folder, sync=True)
        assert log.read_bytes() == content
        process.kill()


def test_the_lock_is_free_after_a_close_and_after_a_failed_open(tmp_path: Path):
    folder = tmp_path / "leveldb"
    LevelDB(folder, sync=True).close()
    current = (folder / "CURRENT").read_bytes()
    (folder / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    with pytest.raises(DataFolderError, match="damaged"):
        LevelDB(folder, sync=True)
    (folder / "CURRENT").write_bytes(current)
    program = HOLDER.replace("sys.stdin.read()", "")
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=60)
