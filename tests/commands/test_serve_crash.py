"""SIGKILL under load: after the restart, acknowledged items exist and removed ones do not.

This process holds the ledger; the signal does not reach it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import euclidesdb
from tests.support.images import encoded, noise
from tests.support.ledger import Ledger
from tests.support.processes import ServerProcess
from tests.support.waiting import wait_for

WRITERS = 4
IDS_PER_WRITER = 40
ACKNOWLEDGED_PER_ROUND = 150


def vector_of(item_id: str, version: int) -> np.ndarray:
    """The vector of a version of an item, so that each is known from the other."""
    return np.random.default_rng(list(f"{item_id}:{version}".encode())).random(12, np.float32)


def has_an_image(version: int) -> bool:
    return version % 20 == 0


def write_until_it_dies(
    client, ledger: Ledger, writer: int, round_: int, enough: threading.Event
) -> None:
    """Random adds, updates and removals of the writer's own items."""
    random = np.random.default_rng([writer, round_])
    last = ledger.acknowledged + ACKNOWLEDGED_PER_ROUND
    while True:
        item_id = f"{writer}-{random.integers(IDS_PER_WRITER)}"
        remove = item_id in ledger.present() and random.random() < 0.3
        version = None if remove else ledger.next_version()
        ledger.begins({item_id: version})
        metadata = f"{version}".encode()
        try:
            if version is None:
                client.remove(item_id)
            elif has_an_image(version):
                image = encoded(noise(version))  # all of them different
                client.add(item_id, image=image, models=["tiny"], metadata=metadata)
            else:
                vector = vector_of(item_id, version)
                client.add(item_id, vectors={"tiny": vector}, metadata=metadata)
        except (euclidesdb.Unavailable, euclidesdb.ServerError, euclidesdb.Cancelled):
            return
        ledger.became(item_id, version)
        if ledger.acknowledged >= last:
            enough.set()


def check_everything(client, ledger: Ledger) -> int:
    """Check every item by id and by search; returns how many there are."""
    found = dict.fromkeys((f"{w}-{n}" for w in range(WRITERS) for n in range(IDS_PER_WRITER)), None)
    for item_id in found:
        try:
            item = client.get(item_id, include_vectors=True)
        except euclidesdb.UnknownItem:
            continue
        version = found[item_id] = int(item.metadata)
        (embedding,) = item.embeddings
        if not has_an_image(version):
            np.testing.assert_array_equal(embedding.vector, vector_of(item_id, version))
        nearest = client.find_similar(vector=embedding.vector, model="tiny", top_k=1)["tiny"]
        assert (nearest.ids, nearest.distances[0]) == ((item_id,), 0)
    ledger.settle(found)
    everything = client.find_similar(vector=np.zeros(12), model="tiny", top_k=1000)["tiny"]
    assert sorted(everything.ids) == sorted(ledger.present())
    return len(everything.ids)


@pytest.mark.long  # without a model it is in tests/proofs/test_kill_loop.py
@pytest.mark.parametrize("rounds", [5])
def test_sigkill_loses_no_acknowledged_write_and_restores_no_removed_item(
    tmp_path, tiny_models, rounds
):
    segments = tmp_path / "data" / "segments"
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(
        f"[server]\naddress = 127.0.0.1:0\nsearch_engine = exact_disk\n[models]\n"
        f"dir_path = {tiny_models}\n[database]\ndb_path = data\n[index]\ncompact_rows = 50\n"
    )
    ledger = Ledger()
    with ThreadPoolExecutor(WRITERS) as pool:
        for round_ in range(rounds + 1):
            with (
                ServerProcess("-c", conf, log=tmp_path / "log") as process,
                euclidesdb.Client(process.address()) as client,
            ):
                assert check_everything(client, ledger) > 0 or round_ == 0
                if round_ == rounds:
                    wait_for(lambda: [*segments.rglob("manifest.json")], "a segment")
                    break
                enough = threading.Event()
                writers = [
                    pool.submit(write_until_it_dies, client, ledger, writer, round_, enough)
                    for writer in range(WRITERS)
                ]
                enough.wait()
                process.kill()
                assert process.orphans() == []
                for writer in writers:
                    writer.result()
