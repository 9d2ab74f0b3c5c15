"""Threads that write items of one vector space at random, and the check of what is left of them.

Each thread owns its ids; what has been acknowledged is kept in a `Ledger`.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

import euclidesdb
from tests.support.ledger import Ledger, Version

MODEL: Final = "vectors"
DIM: Final = 16
WRITERS: Final = 4
IDS_EACH: Final = 12


def vector(item_id: str, version: int) -> npt.NDArray[np.float32]:
    """The vector of one version of an item: whole numbers, so that distances are exact."""
    seed = zlib.crc32(f"{item_id} {version}".encode())
    return np.random.default_rng(seed).integers(-999, 1000, DIM).astype(np.float32)


def check_stored(
    ledger: Ledger, client: euclidesdb.Client, *, last_may_be_lost: bool = False
) -> int:
    """Compare what the server has, by id and by search, with the ledger.

    Returns how many operations were lost: 0, unless the last ones may be.
    """
    found = {item_id: stored_version(client, item_id) for item_id in ledger.possible}
    lost = ledger.settle(found, last_may_be_lost=last_may_be_lost)
    present = {name: each for name, each in found.items() if each is not None}
    check_searches(client, present)
    check_columns(client, present)
    return lost


def check_columns(client: euclidesdb.Client, found: dict[str, int]) -> None:
    """Lists have these items, and filters see their attributes as they are."""
    by_version = [item.id for item in client.items(order_by="version", page_size=1000)]
    assert by_version == sorted(found, key=lambda item_id: found[item_id])
    for item_id, version in [*found.items()][:3]:
        listed = [item.id for item in client.items({"id": item_id, "version": version})]
        assert listed == [item_id]
        near = client.find_similar(
            id=item_id, model=MODEL, filter={"id": item_id}, top_k=2, include_self=True
        )[MODEL]
        assert near.ids == (item_id,)


def new_item(item_id: str, version: int) -> euclidesdb.NewItem:
    """One version of an item, for `add_many`."""
    return euclidesdb.NewItem(
        item_id,
        vectors={MODEL: vector(item_id, version)},
        attributes={"id": item_id, "version": version},
        metadata=f"{item_id} {version}".encode(),
    )


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
    assert embedding.vector is not None
    assert np.array_equal(embedding.vector, vector(item_id, version)), f"half of {item_id}"
    return version


def check_searches(client: euclidesdb.Client, found: dict[str, int]) -> None:
    """Every search finds these items, each at its own vector, and nothing else."""
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


def add_lasting(ledger: Ledger, client: euclidesdb.Client, count: int) -> None:
    """Add new items, which no writer replaces or removes."""
    version = ledger.next_version()
    items = [new_item(f"lasting-{version}-{index}", version) for index in range(count)]
    ledger.begins({str(item.id): version for item in items})
    assert client.add_many(items) == ()
    for item in items:
        ledger.became(str(item.id), version)


class Writer:
    """A thread that writes its own ids at random until the server is gone.

    wrong: an error that should never happen.
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
        """Finish the operation in flight and stop; raises what was wrong."""
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
        except euclidesdb.DeadlineExceeded:
            # gRPC may neither run nor refuse a call that arrives just as the server stops
            pass
        except BaseException as error:
            self.wrong = error

    def _add(self, client: euclidesdb.Client) -> None:
        (item,) = self._new_items([self._chance.choice(self._ids)])
        try:
            client.add(
                item.id, vectors=item.vectors, attributes=item.attributes, metadata=item.metadata
            )
        except euclidesdb.WriteInDoubt:
            return
        except euclidesdb.DiskFull:
            self._ledger.was_refused(str(item.id), _version_of(item))
        else:
            self._became(item)

    def _add_many(self, client: euclidesdb.Client) -> None:
        items = self._new_items(self._some())
        self._note(items, lambda: client.add_many(items))

    def _add_vectors(self, client: euclidesdb.Client) -> None:
        items = self._new_items(self._some())
        self._note(
            items,
            lambda: client.add_vectors(
                [item.id for item in items],
                np.stack([vector(str(item.id), _version_of(item)) for item in items]),
                model=MODEL,
                attributes=[item.attributes or {} for item in items],
                metadata=[item.metadata or b"" for item in items],
            ),
        )

    def _remove(self, client: euclidesdb.Client) -> None:
        item_id = self._chance.choice(self._ids)
        maybe_absent = None in self._ledger.possible.get(item_id, {None})
        self._ledger.begins({item_id: None})
        try:
            client.remove(item_id)
        except euclidesdb.WriteInDoubt:
            return
        except euclidesdb.DiskFull:
            if not maybe_absent:
                self._ledger.was_refused(item_id, None)
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

    def _note(
        self,
        items: list[euclidesdb.NewItem],
        add: Callable[[], Sequence[euclidesdb.Refused | euclidesdb.Failed]],
    ) -> None:
        """Add the items, in one call, and record what became of each."""
        unknown: tuple[tuple[int, str], ...] = ()
        try:
            refused = [each for each in add() if isinstance(each, euclidesdb.Refused)]
        except euclidesdb.AddsInterrupted as interrupted:
            if interrupted.reason != "write_in_doubt":
                raise
            refused, unknown = [*interrupted.refused], interrupted.unknown
        in_doubt = {position for position, _ in unknown}
        positions = {each.position for each in refused}
        for each in refused:
            assert isinstance(each.error, euclidesdb.DiskFull), each
            self._ledger.was_refused(each.id, _version_of(items[each.position]))
        for position, item in enumerate(items):
            if position not in positions | in_doubt:
                self._became(item)

    def _became(self, item: euclidesdb.NewItem) -> None:
        self._ledger.became(str(item.id), _version_of(item))


def _version_of(item: euclidesdb.NewItem) -> int:
    assert item.attributes is not None
    return int(item.attributes["version"])


def write_for_a_while(ledger: Ledger, address: str, seed: int) -> list[Writer]:
    """Start the writers; the caller stops each."""
    return [Writer(ledger, address, number, seed * WRITERS + number) for number in range(WRITERS)]
