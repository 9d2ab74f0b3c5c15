"""`euclidesdb verify` reads and repairs a store whose payloads exceed the memory it may use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.keys import payload_key
from euclidesdb_server.values.payload import Payload
from tests.support.stores import embedding, write_item

PAYLOADS = 104
PAYLOAD_BYTES = 2 << 20
"""In all 208 MiB, and as much metadata, which compress well, so the files are small."""
SPARE_BYTES = 200 << 20
"""What two open databases, and records on their way from one to the other, may take."""

LIMITED = """
import resource, sys
from euclidesdb_server.__main__ import main
import euclidesdb_server.commands.verify
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmData:"))
limit = 1024 * used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(main(["verify", "--data", *sys.argv[2:]]))
"""


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Verify in a process that may use SPARE_BYTES more than it has after its imports."""
    command = [sys.executable, "-c", LIMITED, str(SPARE_BYTES), str(folder), *options]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Large payloads, and as much metadata; one payload belongs to no item."""
    with FeatureStore(tmp_path / "leveldb", sync=False) as store:
        number = store.open_space("one", "version 1", 2).number
        for index in range(PAYLOADS):
            payload = Payload("image", bytes([index]) * PAYLOAD_BYTES)
            write_item(
                store, f"{index}", {number: embedding(index, 1)}, payload=payload,
                metadata=bytes([index]) * 1000,
            )  # fmt: skip
        for index in range(PAYLOADS, 2 * PAYLOADS):
            write_item(
                store, f"{index}", {number: embedding(index, 1)},
                metadata=bytes([index]) * PAYLOAD_BYTES,
            )  # fmt: skip
        batch = store._leveldb.batch()
        batch.put(payload_key(1_000), bytes(PAYLOAD_BYTES))
        store._leveldb.write(batch, "spoiling the store")
    return tmp_path


@pytest.mark.long
def test_payloads_that_exceed_the_memory_are_verified_and_repaired(folder):
    found = verify(folder)
    assert found.stderr == ""
    assert "1 problems" in found.stdout, found.stdout
    mended = verify(folder, "--repair")
    assert "the store has been repaired" in mended.stdout, mended.stderr
    (discarded,) = folder.glob("damaged-*/records.jsonl")
    record = json.loads(discarded.read_text())
    assert bytes.fromhex(record["value"]) == bytes(PAYLOAD_BYTES)
    again = verify(folder)
    assert (
        again.stdout
        == f"{2 * PAYLOADS} items with {2 * PAYLOADS} vectors in 1 spaces: all is well\n"
    )
    with FeatureStore(folder / "leveldb") as store:
        for index in range(PAYLOADS):
            kept = store.item(f"{index}")
            assert kept is not None
            assert kept.payload_label is not None
            payload = store.payload(kept.payload_label)
            assert payload is not None
            assert payload.data == bytes([index]) * PAYLOAD_BYTES
