"""The reply to a write is lost, and another caller writes the item: the repetition undoes nothing.

Over a proxy that loses replies, with a server that is killed and started again in between, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import euclidesdb
from tests.support.lost_replies import ReplyLoser
from tests.support.processes import ServerProcess
from tests.support.vector_spaces import save_vector_space

DIM = 3
ITEMS = [euclidesdb.NewItem(name, vectors={"given": [1.0] * DIM}) for name in "abc"]


class RestartedServer:
    """A server process that can be killed and started again."""

    def __init__(self, folder: Path, transport: str) -> None:
        save_vector_space(folder / "models", feature_dim=DIM)
        self._folder = folder
        (folder / "euclidesdb.conf").write_text(
            f"[server]\naddress = 127.0.0.1:0\ntransport = {transport}\n"
            "[models]\ndir_path = models\n[database]\ndb_path = data\n"
        )
        self._start()

    def restart(self) -> None:
        self.process.kill()
        self._start()

    def _start(self) -> None:
        self.process = ServerProcess(
            "--config", self._folder / "euclidesdb.conf", log=self._folder / "server.log"
        )
        self.address = self.process.address()


@pytest.fixture(scope="module", params=["nghttp2", "grpcio"])
def server(request: Any, tmp_path_factory: Any) -> Iterator[RestartedServer]:
    started = RestartedServer(tmp_path_factory.mktemp("lost-replies"), request.param)
    yield started
    started.process.kill()


@pytest.fixture
def proxy(server: RestartedServer) -> Iterator[ReplyLoser]:
    with euclidesdb.Client(server.address) as db:
        db.remove_many(filter={"$id": {"$exists": True}})
    with ReplyLoser(server.address) as made:
        yield made


Write = Callable[[euclidesdb.Client], Any]


def lose(proxy: ReplyLoser, server: RestartedServer, other: Write, *, crash: bool) -> None:
    """The next reply is lost; meanwhile another caller writes, and the server is killed."""

    def meanwhile() -> None:
        with euclidesdb.Client(server.address) as db:
            other(db)
        if crash:
            server.restart()
            proxy.upstream = server.address

    proxy.lose_next(meanwhile)


def add(x: float, name: str = "a") -> Write:
    return lambda db: db.add(name, vectors={"given": [x] * DIM})


def first_number(db: euclidesdb.Client, name: str = "a") -> float:
    vector = db.get(name, include_vectors=True).embeddings[0].vector
    assert vector is not None
    return float(vector[0])


@pytest.mark.parametrize("crash", [False, True], ids=["running", "killed"])
def test_an_add_whose_reply_is_lost_does_not_undo_a_later_one(server, proxy, crash):
    lose(proxy, server, add(2.0), crash=crash)
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        (embedding,) = add(1.0)(db)
        assert embedding.model == "given"
        assert (first_number(db), proxy.lost) == (2.0, 1)


@pytest.mark.parametrize(
    "write",
    [
        lambda db: db.add_many(ITEMS),
        lambda db: db.add_vectors([*"abc"], np.ones((3, DIM)), model="given"),
    ],
    ids=["add_many", "add_vectors"],
)
def test_many_items_whose_reply_is_lost_are_added_once(server, proxy, write):
    lose(proxy, server, add(2.0, "b"), crash=True)
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        assert write(db) == ()
        assert [first_number(db, name) for name in "abc"] == [1.0, 2.0, 1.0]
    assert proxy.lost == 1


def test_an_update_whose_reply_is_lost_does_not_undo_a_later_one(server, proxy):
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        add(1.0)(db)
        lose(proxy, server, lambda other: other.update("a", merge={"n": 2}), crash=True)
        assert db.update("a", merge={"n": 1}) == {"n": 2}
        assert db.get("a").attributes == {"n": 2}


def test_a_removal_whose_reply_is_lost_does_not_remove_what_was_added_since(server, proxy):
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        add(1.0)(db)
        lose(proxy, server, add(2.0), crash=True)
        db.remove("a")
        assert first_number(db) == 2.0


def test_a_removal_by_ids_whose_reply_is_lost_counts_what_it_has_removed(server, proxy):
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        db.add_many(ITEMS)
        lose(proxy, server, add(2.0, "b"), crash=True)
        removal = db.remove_many([*"abc", "missing"])
        assert (removal.removed, removal.missing) == (3, ("missing",))
        assert [db.exists(name) for name in "abc"] == [False, True, False]
        assert first_number(db, "b") == 2.0


def test_a_removal_by_filter_whose_reply_is_lost_is_repeated(server, proxy):
    with euclidesdb.Client(proxy.address, timeout=60, retries=4) as db:
        db.add_many(ITEMS)
        lose(proxy, server, add(2.0, "other"), crash=False)
        assert db.remove_many(filter={"$id": {"$in": [*"abc"]}}).removed == 0
        assert (db.count(), proxy.lost) == (1, 1)


@pytest.mark.usefixtures("proxy")
def test_a_program_repeats_its_write_by_a_key_of_its_own(server):
    key = b"kept by the program"
    with euclidesdb.Client(server.address, timeout=60) as db:
        assert db.add("a", vectors={"given": [1.0] * DIM}, request_key=key).change == "added"
        assert add(2.0)(db).change == "replaced"
        assert add(2.0)(db).change == "unchanged"
        db.add("a", vectors={"given": [1.0] * DIM}, request_key=key)
        assert first_number(db) == 2.0
        items = [euclidesdb.NewItem("a", vectors={"given": [1.0] * DIM}, request_key=key)]
        assert db.add_many(items).changes == euclidesdb.Changes(replaced=1)
        assert [each.change for each in db.add_stream(items)] == ["replaced"]
        rows = ["x", "y"], np.ones((2, DIM))
        first = db.add_vectors(*rows, model="given", request_key=key)
        assert first.changes == euclidesdb.Changes(added=2)
        add(2.0, "x")(db)
        again = db.add_vectors(*rows, model="given", request_key=key)
        assert again.changes == euclidesdb.Changes(added=1, replaced=1)
        assert first_number(db, "x") == 2.0
        db.update("a", merge={"n": 1}, request_key=key)
        db.update("a", merge={"n": 2})
        assert db.update("a", merge={"n": 1}, request_key=key) == {"n": 2}
        db.remove("x", request_key=key)
        add(3.0, "x")(db)
        db.remove("x", request_key=key)
        assert first_number(db, "x") == 3.0
        with pytest.raises(ValueError, match="8 to 64 random bytes, not 3"):
            db.remove("x", request_key=b"abc")


def test_the_asynchronous_client_repeats_likewise(server, proxy):
    lose(proxy, server, add(2.0, "b"), crash=False)

    async def adding() -> float:
        async with euclidesdb.AsyncClient(proxy.address, timeout=60) as db:
            assert await db.add_many(ITEMS) == ()
            item = await db.get("b", include_vectors=True)
            vector = item.embeddings[0].vector
            assert vector is not None
            return float(vector[0])

    assert asyncio.run(adding()) == 2.0
    assert proxy.lost == 1


def test_without_retries_a_lost_reply_is_reported(server, proxy):
    lose(proxy, server, add(2.0), crash=False)
    with (
        euclidesdb.Client(proxy.address, timeout=60, retries=0) as db,
        pytest.raises(euclidesdb.ConnectionFailed, match="broke"),
    ):
        add(1.0)(db)
