"""A client that makes every call, valid and invalid, repeatedly and on the same few items."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest

import euclidesdb

MODEL = "vectors"
DIM = 16
IDS = [f"item-{number}" for number in range(300)]

Vectors = npt.NDArray[np.float32]


class Caller:
    """A client that makes every call in rounds, each over a new connection.

    calls: the number made so far. late: how many ended at their deadline.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.calls = 0
        self.late = 0
        self._address = address
        self._chance = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._visitors = (f"visitor-{seed}-{number}" for number in range(1 << 30))

    def make_rounds(self, rounds: int) -> None:
        calls = [
            *(self.add, self.add_many, self.add_vectors, self.remove, self.add_and_remove),
            *(self.get, self.search, self.search_by_id, self.search_many, self.search_many_by_id),
            *(self.list_models, self.send_invalid_requests, self.request_unknown_items),
            *(self.search_late, self.write_late, self.close_in_flight),
        ]
        for _ in range(rounds):
            self._chance.shuffle(calls)
            with euclidesdb.Client(self._address) as client:
                for call in calls:
                    with suppress(euclidesdb.UnknownItem):  # another caller removed it
                        call(client)
            self.calls += len(calls)

    def add(self, client: euclidesdb.Client) -> None:
        name, (vector,) = self._id(), self._vectors(1)
        client.add(name, vectors={MODEL: vector}, attributes={"a": 1}, metadata=self._bytes())

    def add_many(self, client: euclidesdb.Client) -> None:
        columns = zip(self._ids(), self._vectors(40), strict=True)
        items = [euclidesdb.NewItem(name, vectors={MODEL: vector}) for name, vector in columns]
        assert not client.add_many(items)

    def add_vectors(self, client: euclidesdb.Client) -> None:
        metadata = [self._bytes() for _ in range(40)]
        assert not client.add_vectors(
            self._ids(), self._vectors(40), model=MODEL, metadata=metadata
        )

    def remove(self, client: euclidesdb.Client) -> None:
        client.remove(self._id())

    def add_and_remove(self, client: euclidesdb.Client) -> None:
        name, (vector,) = next(self._visitors), self._vectors(1)  # of a name never seen again
        client.add(name, vectors={MODEL: vector})
        client.remove(name)

    def get(self, client: euclidesdb.Client) -> None:
        client.get(self._id(), include_vectors=True)

    def search(self, client: euclidesdb.Client) -> None:
        (vector,) = self._vectors(1)
        client.find_similar(vector=vector, model=MODEL, max_distance=4.0)

    def search_by_id(self, client: euclidesdb.Client) -> None:
        client.find_similar(id=self._id(), include_attributes=True, include_metadata=True)

    def search_many(self, client: euclidesdb.Client) -> None:
        client.find_similar_many(vectors=self._vectors(40), model=MODEL)

    def search_many_by_id(self, client: euclidesdb.Client) -> None:
        client.find_similar_many(ids=self._ids(), model=MODEL)

    def list_models(self, client: euclidesdb.Client) -> None:
        client.models()

    def send_invalid_requests(self, client: euclidesdb.Client) -> None:
        with pytest.raises(euclidesdb.DimensionMismatch):
            client.add(self._id(), vectors={MODEL: [1.0]})
        (refused, *_) = client.add_many([euclidesdb.NewItem("", vectors={MODEL: [0.0] * DIM})])
        assert isinstance(refused.error, euclidesdb.InvalidRequest)

    def request_unknown_items(self, client: euclidesdb.Client) -> None:
        with pytest.raises(euclidesdb.UnknownModel):
            client.find_similar(vector=[1.0], model="other")
        with pytest.raises(euclidesdb.UnknownItem):
            client.get("unknown")

    def search_late(self, client: euclidesdb.Client) -> None:
        seconds = self._chance.uniform(0.0, 0.05)
        try:
            client.find_similar_many(vectors=self._vectors(300), model=MODEL, timeout=seconds)
        except euclidesdb.DeadlineExceeded:
            self.late += 1

    def write_late(self, client: euclidesdb.Client) -> None:
        seconds = self._chance.uniform(0.0, 0.02)
        try:
            client.add_vectors(self._ids(), self._vectors(40), model=MODEL, timeout=seconds)
        except euclidesdb.AddsInterrupted as error:
            if not isinstance(error.__cause__, euclidesdb.DeadlineExceeded):
                raise
            self.late += 1

    def close_in_flight(self, _: euclidesdb.Client) -> None:
        with ThreadPoolExecutor(1) as thread:
            client = euclidesdb.Client(self._address)
            vectors = self._vectors(300)
            left = thread.submit(client.find_similar_many, vectors=vectors, model=MODEL)
            client.close()
            with suppress(euclidesdb.Cancelled, euclidesdb.ClientClosed):
                left.result()

    def _id(self) -> str:
        return self._chance.choice(IDS)

    def _ids(self) -> list[str]:
        return self._chance.sample(IDS, 40)

    def _vectors(self, count: int) -> Vectors:
        return self._numbers.standard_normal((count, DIM), np.float32)

    def _bytes(self) -> bytes:
        return self._numbers.bytes(1000)
