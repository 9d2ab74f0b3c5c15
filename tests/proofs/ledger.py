"""What was acknowledged, kept outside the server, and held against it after every crash.

Each thread owns its ids, so what an id may be is definite: what was last acknowledged, or what
an operation in doubt since then may have made of it. Where the last writes may be lost, they
may be from some point on, and none before it: what there is of a thread's writes is a prefix.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Mapping
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

    possible: by id; base: what each was found to be by the last check; steps: by thread, the
    operations since then, in order: what each makes of its ids.
    """

    possible: dict[str, set[Version]] = field(default_factory=dict)
    base: dict[str, Version] = field(default_factory=dict)
    steps: dict[str, list[Mapping[str, Version]]] = field(default_factory=dict)
    versions: int = 0
    acknowledged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_version(self) -> int:
        """A number that no version had before."""
        with self.lock:
            self.versions += 1
            return self.versions

    def begins(self, step: Mapping[str, Version]) -> None:
        """An operation of one thread is about to begin; it may make this of its ids."""
        for item_id, version in step.items():
            self.possible.setdefault(item_id, {None}).add(version)
        self.steps.setdefault(_owner(next(iter(step))), []).append(step)

    def became(self, item_id: str, version: Version) -> None:
        """It was acknowledged."""
        self.possible[item_id] = {version}
        with self.lock:
            self.acknowledged += 1

    def check(self, client: euclidesdb.Client, *, last_may_be_lost: bool = False) -> int:
        """Hold the server against the ledger; from then on each id is what it was found to be.

        Returns how many operations were lost: none, unless the last may be.
        """
        found = {item_id: stored_version(client, item_id) for item_id in self.possible}
        lost = 0
        if last_may_be_lost:
            lost = sum(self._lost_of(owner, found) for owner in self.steps)
        else:
            for item_id, possible in self.possible.items():
                version = found[item_id]
                assert version in possible, f"{item_id} is {version}, and should be of {possible}"
        check_searches(client, {name: each for name, each in found.items() if each is not None})
        self.possible = {item_id: {version} for item_id, version in found.items()}
        self.base, self.steps = found, {}
        return lost

    def _lost_of(self, owner: str, found: Mapping[str, Version]) -> int:
        """How many of a thread's last operations are not there; the others all must be."""
        steps = self.steps[owner]
        own = [item_id for item_id in found if _owner(item_id) == owner]
        state = {item_id: self.base.get(item_id) for item_id in own}
        for done in range(len(steps), -1, -1):
            state = {item_id: self.base.get(item_id) for item_id in own}
            for step in steps[:done]:
                state.update(step)
            half_done = steps[done] if done < len(steps) else {}  # each item by itself
            if all(found[name] in (state[name], half_done.get(name, state[name])) for name in own):
                return len(steps) - done
        raise AssertionError(f"{found} is no state that the writes of {owner} went through")


def new_item(item_id: str, version: int) -> euclidesdb.NewItem:
    """One version of an item, for `add_many`."""
    return euclidesdb.NewItem(
        item_id,
        vectors={MODEL: vector(item_id, version)},
        attributes={"id": item_id, "version": version},
        metadata=f"{item_id} {version}".encode(),
    )


def _owner(item_id: str) -> str:
    """The number of the thread that writes an id."""
    return item_id.partition("-")[0]


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
        (item,) = self._new_items([self._chance.choice(self._ids)])
        try:
            client.add(
                item.id, vectors=item.vectors, attributes=item.attributes, metadata=item.metadata
            )
        except euclidesdb.DiskFull:
            return
        self._became(item)

    def _add_many(self, client: euclidesdb.Client) -> None:
        items = self._new_items(self._some())
        refused = client.add_many(items)
        self._acknowledge(items, refused)

    def _add_vectors(self, client: euclidesdb.Client) -> None:
        items = self._new_items(self._some())
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
        self._ledger.begins({item_id: None})
        try:
            client.remove(item_id)
        except euclidesdb.DiskFull:
            return
        except euclidesdb.UnknownItem:
            assert None in self._ledger.possible[item_id]
        self._ledger.became(item_id, None)

    def _some(self) -> list[str]:
        return self._chance.sample(self._ids, self._chance.randint(1, IDS_EACH))

    def _new_items(self, item_ids: list[str]) -> list[euclidesdb.NewItem]:
        versions = {item_id: self._ledger.next_version() for item_id in item_ids}
        self._ledger.begins(versions)
        return [new_item(item_id, version) for item_id, version in versions.items()]

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
        self._ledger.became(item.id, item.attributes["version"])


def write_for_a_while(ledger: Ledger, address: str, seed: int) -> list[Writer]:
    """Start the writers; `stop` each."""
    return [Writer(ledger, address, number, seed * WRITERS + number) for number in range(WRITERS)]
