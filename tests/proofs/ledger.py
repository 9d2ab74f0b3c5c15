"""What was acknowledged, kept outside the server, and held against it after every crash.

Each thread owns its ids, so what an id may be is definite: what was last acknowledged, or what
an operation in doubt since then may have made of it.
"""

from __future__ import annotations

import json
import random
import threading
import zlib
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

import euclidesdb

MODEL: Final = "vectors"
DIM: Final = 16
WRITERS: Final = 4
IDS_EACH: Final = 12
MOST: Final = WRITERS * IDS_EACH

Version: TypeAlias = int | None
"""None: the item is not there."""


def vector(item_id: str, version: int) -> npt.NDArray[np.float32]:
    """Of one version of an item: whole numbers, so that distances are exact."""
    seed = zlib.crc32(f"{item_id} {version}".encode())
    return np.random.default_rng(seed).integers(-999, 1000, DIM).astype(np.float32)


@dataclass(slots=True)
class Ledger:
    """What each id may be now.

    forgiving: where an acknowledged write may be lost (`sync = false`), an id may be whatever
    it ever was.
    """

    forgiving: bool = False
    possible: dict[str, set[Version]] = field(default_factory=dict)
    history: dict[str, set[Version]] = field(default_factory=dict)
    versions: int = 0
    acknowledged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_version(self) -> int:
        """A number that no version had before."""
        with self.lock:
            self.versions += 1
            return self.versions

    def may_become(self, item_id: str, version: Version) -> None:
        """An operation is about to begin."""
        self.possible.setdefault(item_id, {None}).add(version)
        self.history.setdefault(item_id, {None}).add(version)

    def became(self, item_id: str, version: Version) -> None:
        """It was acknowledged."""
        self.possible[item_id] = {version}
        with self.lock:
            self.acknowledged += 1

    def check(self, client: euclidesdb.Client) -> None:
        """Hold the server against the ledger; from then on each id is what it was found to be."""
        found: dict[str, int] = {}
        for item_id, possible in self.possible.items():
            allowed = self.history[item_id] if self.forgiving else possible
            version = stored_version(client, item_id)
            assert version in allowed, f"{item_id} is {version}, and should be one of {allowed}"
            self.possible[item_id] = {version}
            if version is not None:
                found[item_id] = version
        check_searches(client, found)


def stored_version(client: euclidesdb.Client, item_id: str) -> Version:
    """The version of a stored item, all of whose parts agree."""
    try:
        item = client.get(item_id, include_vectors=True)
    except euclidesdb.UnknownItem:
        return None
    version: int = item.attributes["version"]
    assert item.attributes == {"id": item_id, "version": version}
    assert item.metadata == f"{item_id} {version}".encode()
    (embedding,) = item.embeddings
    assert np.array_equal(embedding.vector, vector(item_id, version)), f"half of {item_id}"
    return version


def check_searches(client: euclidesdb.Client, found: dict[str, int]) -> None:
    """Every search shows the items found, each at its own vector, and no other."""
    model = {info.name: info for info in client.models()}[MODEL]
    assert model.items == len(found), f"{model.items} items are listed, {len(found)} are there"
    origin = np.zeros(DIM, np.float32)
    everything = client.find_similar(vector=origin, model=MODEL, top_k=1000)[MODEL]
    expected = {name: np.linalg.norm(vector(name, version)) for name, version in found.items()}
    assert len(everything.ids) == len(set(everything.ids))
    assert set(everything.ids) == set(expected)
    for name, distance in zip(everything.ids, everything.distances, strict=True):
        assert np.isclose(distance, expected[name], rtol=1e-5)
    names = [*found]
    if not names:
        return
    queries = np.stack([vector(name, found[name]) for name in names])
    by_vector = client.find_similar_many(vectors=queries, model=MODEL, top_k=1)
    by_id = client.find_similar_many(ids=names, models=[MODEL], top_k=1, include_self=True)
    for name, one, other in zip(names, by_vector, by_id, strict=True):
        for answer in (one, other):
            assert (answer[MODEL].ids, answer[MODEL].distances.tolist()) == ((name,), [0.0])


class Writer:
    """One thread's work: random writes of its own ids, until the server is gone.

    wrong: what it saw that should never be.
    """

    def __init__(self, ledger: Ledger, address: str, number: int, seed: int) -> None:
        self._ledger = ledger
        self._address = address
        self._ids = [f"{number}-{index}" for index in range(IDS_EACH)]
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self.wrong: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """End after the operation under way; raises what was wrong."""
        self._stop.set()
        self._thread.join()
        if self.wrong is not None:
            raise self.wrong

    def _run(self) -> None:
        operations = (self._add, self._add, self._add_vectors, self._add_many, self._remove)
        try:
            with euclidesdb.Client(self._address, timeout=20) as client:
                while not self._stop.is_set():
                    self._chance.choice(operations)(client)
        except (euclidesdb.Unavailable, euclidesdb.AddsInterrupted, euclidesdb.Cancelled):
            pass
        except BaseException as error:
            self.wrong = error

    def _add(self, client: euclidesdb.Client) -> None:
        item = self._new_item(self._chance.choice(self._ids))
        try:
            client.add(
                item.id, vectors=item.vectors, attributes=item.attributes, metadata=item.metadata
            )
        except euclidesdb.DiskFull:
            return
        self._became(item)

    def _add_many(self, client: euclidesdb.Client) -> None:
        items = [self._new_item(item_id) for item_id in self._some()]
        refused = client.add_many(items)
        self._acknowledge(items, refused)

    def _add_vectors(self, client: euclidesdb.Client) -> None:
        items = [self._new_item(item_id) for item_id in self._some()]
        refused = client.add_vectors(
            [item.id for item in items],
            np.stack([item.vectors[MODEL] for item in items]),
            model=MODEL,
            attributes=[item.attributes for item in items],
            metadata=[item.metadata for item in items],
        )
        self._acknowledge(items, refused)

    def _remove(self, client: euclidesdb.Client) -> None:
        item_id = self._chance.choice(self._ids)
        self._ledger.may_become(item_id, None)
        try:
            client.remove(item_id)
        except euclidesdb.DiskFull:
            return
        except euclidesdb.UnknownItem:
            assert None in self._ledger.possible[item_id]
        self._ledger.became(item_id, None)

    def _some(self) -> list[str]:
        return self._chance.sample(self._ids, self._chance.randint(1, IDS_EACH))

    def _new_item(self, item_id: str) -> euclidesdb.NewItem:
        version = self._ledger.next_version()
        self._ledger.may_become(item_id, version)
        return euclidesdb.NewItem(
            item_id,
            vectors={MODEL: vector(item_id, version)},
            attributes={"id": item_id, "version": version},
            metadata=f"{item_id} {version}".encode(),
        )

    def _acknowledge(
        self, items: list[euclidesdb.NewItem], refused: tuple[euclidesdb.Refused, ...]
    ) -> None:
        positions = {each.position for each in refused}
        for each in refused:
            assert isinstance(each.error, euclidesdb.DiskFull), each
        for position, item in enumerate(items):
            if position not in positions:
                self._became(item)

    def _became(self, item: euclidesdb.NewItem) -> None:
        self._ledger.became(item.id, json.loads(json.dumps(item.attributes))["version"])


def write_for_a_while(ledger: Ledger, address: str, seed: int) -> list[Writer]:
    """Start the writers; `stop` each."""
    return [Writer(ledger, address, number, seed * WRITERS + number) for number in range(WRITERS)]
