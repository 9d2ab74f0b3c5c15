"""A client adds vectors whose squared distances exceed float32 among ordinary ones.

faiss may abort when it clusters them, or build an index that is of no use. The server goes on:
searches are right, the status says why there is no index, and a restart serves at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

MODEL = "vectors"
DIM = 32
ROWS = 1500
FAR_APART, OVERFLOWING = 1e19, 6e19
"""Lengths of huge vectors: the squared distance of two exceeds float32, or that of one from any."""
HUGE_EVERY = 100
TOP_K = 5000
"""All there are."""

CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = faiss
max_top_k = {top_k}
[models]
dir_path = models
[database]
db_path = data
[faiss]
metric = l2
index_type = {index_type}
nprobe = 16
[index]
compact_rows = 1000
"""


class Items:
    """The items of the server, as the test wrote them. length: of those that are huge."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._chance = np.random.default_rng(3)
        self.vectors: dict[str, npt.NDArray[np.float32]] = {}

    def add(self, client: euclidesdb.Client, count: int) -> None:
        """Add items, some of them huge."""
        first = len(self.vectors)
        made = self._chance.standard_normal((count, DIM))
        made[::HUGE_EVERY] *= self._length / np.linalg.norm(
            made[::HUGE_EVERY], axis=1, keepdims=True
        )
        vectors = made.astype(np.float32)
        ids = [f"item {number}" for number in range(first, first + count)]
        assert not client.add_vectors(ids, vectors, model=MODEL)
        self.vectors.update(zip(ids, vectors, strict=True))

    def remove_huge(self, client: euclidesdb.Client) -> None:
        for name in [name for name, vector in self.vectors.items() if np.abs(vector).max() > 1e9]:
            client.remove(name)
            del self.vectors[name]

    def check(self, client: euclidesdb.Client, *, exact: bool) -> None:
        """Searches for all items find each at its distance; if exact, the nearest ten are found."""
        ordinary = self._chance.standard_normal(DIM).astype(np.float32)
        for query in (ordinary, self.vectors["item 1"], self.vectors[min(self.vectors)]):
            distances = self._distances(query)
            found = client.find_similar(vector=query, model=MODEL, top_k=TOP_K)[MODEL]
            assert dict(zip(found.ids, found.distances, strict=True)) == pytest.approx(
                distances, rel=1e-5, abs=1e-5
            )
            assert [*found.distances] == sorted(found.distances)
            ten = client.find_similar(vector=query, model=MODEL, top_k=10)[MODEL]
            assert len({*ten.ids}) == 10
            if exact:
                nearest = sorted(distances.values())[:10]
                assert [*ten.distances] == pytest.approx(nearest, rel=1e-5, abs=1e-5)

    def _distances(self, query: npt.NDArray[np.float32]) -> dict[str, float]:
        return {
            name: float(np.linalg.norm(vector.astype(np.float64) - query))
            for name, vector in self.vectors.items()
        }


@contextmanager
def serving(folder: Path) -> Iterator[tuple[euclidesdb.Client, Callable[[], object]]]:
    """A client of a server, and its refresh call; the server is stopped on leaving the block."""
    log = folder / "log"
    request = legacy.ShutdownRequest(shutdown_type=1).SerializeToString()
    with ServerProcess("-c", folder / "euclidesdb.conf", log=log) as process:
        address = process.address()
        with euclidesdb.Client(address) as client, grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/euclidesproto.Similar/Shutdown")
            yield client, partial(call, request)
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0, log.read_text()


def index_of(client: euclidesdb.Client) -> euclidesdb.IndexInfo:
    (model,) = client.models()
    assert model.index is not None
    return model.index


def wait_for_build(client: euclidesdb.Client, *, fails: bool) -> None:
    def has_ended() -> bool:
        index = index_of(client)
        if index.building:
            return False
        return bool(index.failure) if fails else index.indexed_rows > 0 and not index.failure

    wait_for(has_ended, "why there is no index" if fails else "an index")
    if fails:
        assert "SIGABRT" in index_of(client).failure


@pytest.mark.parametrize(
    ("index_type", "length"),
    [
        ("IVF16,Flat", OVERFLOWING),
        pytest.param("IVF16,Flat", FAR_APART, marks=pytest.mark.long),
        pytest.param("PQ8x4", OVERFLOWING, marks=pytest.mark.long),
        pytest.param("PQ8x4", FAR_APART, marks=pytest.mark.long),
        pytest.param("IVF16,PQ8x4", OVERFLOWING, marks=pytest.mark.long),
        pytest.param("IVF16,PQ8x4", FAR_APART, marks=pytest.mark.long),
    ],
)
def test_huge_vectors_harm_neither_the_server_nor_the_searches(tmp_path, index_type, length):
    save_vector_space(tmp_path / "models", MODEL, feature_dim=DIM)
    conf = tmp_path / "euclidesdb.conf"
    conf.write_text(CONFIG.format(index_type=index_type, top_k=TOP_K))
    items, fails = Items(length), length == OVERFLOWING
    exact = fails or index_type == "IVF16,Flat"  # with all lists searched
    with serving(tmp_path) as (client, _):
        items.add(client, ROWS)
        items.check(client, exact=exact)
        wait_for_build(client, fails=fails)
        items.check(client, exact=exact)
        items.add(client, 10)
        items.check(client, exact=exact)
    with serving(tmp_path) as (client, refresh):
        items.check(client, exact=exact)
        items.add(client, 10)
        refresh()
        wait_for_build(client, fails=fails)
        items.check(client, exact=exact)
        items.remove_huge(client)
        refresh()
        wait_for_build(client, fails=False)
        items.check(client, exact=index_type == "IVF16,Flat")
