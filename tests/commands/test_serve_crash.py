"""SIGKILL under load: what was acknowledged is there after the restart, and what went stays gone.

The ledger is held by this process, which the signal does not touch.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import euclidesdb
from tests.support.images import encoded, noise
from tests.support.processes import ServerProcess

ROUNDS = 3
WRITERS = 4
IDS_PER_WRITER = 40
ACKNOWLEDGED_PER_ROUND = 250
GONE = None


class Ledger:
    """What each item may be after a crash: the acknowledged state, or that of a call cut short.

    A state is the item's metadata, or GONE.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, bytes | None] = {}
        self._uncertain: dict[str, bytes | None] = {}
        self._acknowledged = 0
        self.enough = threading.Event()

    def begin_round(self) -> None:
        self._acknowledged = 0
        self.enough.clear()

    def state(self, item_id: str) -> bytes | None:
        return self._states.get(item_id, GONE)

    def asked(self, item_id: str, state: bytes | None) -> None:
        with self._lock:
            self._uncertain[item_id] = state

    def acknowledged(self, item_id: str) -> None:
        with self._lock:
            self._states[item_id] = self._uncertain.pop(item_id)
            self._acknowledged += 1
            if self._acknowledged >= ACKNOWLEDGED_PER_ROUND:
                self.enough.set()

    def check(self, item_id: str, found: bytes | None) -> None:
        """Hold what was found against what may be; from now on it is what is."""
        allowed = [self.state(item_id)]
        if item_id in self._uncertain:
            allowed.append(self._uncertain.pop(item_id))
        assert found in allowed, f"{item_id}: found {found!r}, not one of {allowed}"
        self._states[item_id] = found


def vector_of(metadata: bytes) -> np.ndarray:
    """The vector that goes with a state, so that each can be told by the other."""
    return np.random.default_rng(list(metadata)).random(12, np.float32)


def write_until_it_dies(client, ledger: Ledger, writer: int, round_: int) -> None:
    """Random adds, updates and removes of the writer's own items."""
    random = np.random.default_rng([writer, round_])
    for step in range(1_000_000):
        item_id = f"{writer}-{random.integers(IDS_PER_WRITER)}"
        remove = ledger.state(item_id) is not GONE and random.random() < 0.3
        metadata = f"{item_id}:{round_}:{step}".encode()
        ledger.asked(item_id, GONE if remove else metadata)
        try:
            if remove:
                client.remove(item_id)
            elif step % 20 == 0:
                image = encoded(noise(step * 100 + round_ * 10 + writer))  # no two alike
                client.add(item_id, image=image, models=["tiny"], metadata=metadata)
            else:
                client.add(item_id, vectors={"tiny": vector_of(metadata)}, metadata=metadata)
        except (euclidesdb.Unavailable, euclidesdb.ServerError, euclidesdb.Cancelled):
            return
        ledger.acknowledged(item_id)


def check_everything(client, ledger: Ledger) -> int:
    """Every item by id and by search; returns how many there are."""
    alive = set()
    for item_id in (f"{w}-{n}" for w in range(WRITERS) for n in range(IDS_PER_WRITER)):
        try:
            item = client.get(item_id, include_vectors=True)
        except euclidesdb.UnknownItem:
            ledger.check(item_id, GONE)
            continue
        ledger.check(item_id, item.metadata)
        alive.add(item_id)
        (embedding,) = item.embeddings
        if int(item.metadata.rpartition(b":")[2]) % 20:
            np.testing.assert_array_equal(embedding.vector, vector_of(item.metadata))
        found = client.find_similar(vector=embedding.vector, model="tiny", top_k=1)["tiny"]
        assert (found.ids, found.distances[0]) == ((item_id,), 0)
    everything = client.find_similar(vector=np.zeros(12), model="tiny", top_k=1000)["tiny"]
    assert sorted(everything.ids) == sorted(alive)
    return len(alive)


def test_after_sigkill_nothing_acknowledged_is_missing_and_nothing_removed_is_back(
    tmp_path, tiny_models
):
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(
        f"[server]\naddress = 127.0.0.1:0\nsearch_engine = exact_disk\n[models]\n"
        f"dir_path = {tiny_models}\n[database]\ndb_path = data\n[index]\ncompact_rows = 50\n"
    )
    ledger = Ledger()
    with ThreadPoolExecutor(WRITERS) as pool:
        for round_ in range(ROUNDS + 1):
            with (
                ServerProcess("-c", conf, log=tmp_path / "log") as process,
                euclidesdb.Client(process.address()) as client,
            ):
                assert check_everything(client, ledger) > 0 or round_ == 0
                if round_ == ROUNDS:
                    break
                ledger.begin_round()
                writers = [
                    pool.submit(write_until_it_dies, client, ledger, writer, round_)
                    for writer in range(WRITERS)
                ]
                ledger.enough.wait()
                process.kill()
                assert process.orphans() == []
                for writer in writers:
                    writer.result()
    assert [*(tmp_path / "data" / "segments").rglob("manifest.json")], "segments were built"
