"""Superseded versions through the real API: listed with their size, opened late, and dropped."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as v1
from euclidesdb_server.__main__ import main
from euclidesdb_server.inference.fingerprint import vectors_fingerprint
from euclidesdb_server.inference.model_conf import VectorsConf
from tests.support.calls import Stubs, refusal
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

STATUS = grpc.StatusCode
DIM = 8
V1, V2, V3 = (
    vectors_fingerprint(VectorsConf("given", DIM, "vector", version=version))
    for version in ("1", "2", "3")
)
OLD = f"given@{V1}"


class Versions:
    """A data folder, and a models folder with one version of the model `given`."""

    def __init__(self, folder):
        self.folder = folder

    def becomes(self, version):
        more = f"version = {version}\n"
        save_vector_space(self.folder / "models", feature_dim=DIM, more=more)

    @contextmanager
    def served(self, **options):
        with (
            start_server(self.folder / "data", self.folder / "models", **options) as server,
            euclidesdb.Client(server.address) as client,
        ):
            yield server, client


@pytest.fixture
def versions(tmp_path):
    """`items 0` to 99 with a vector of version 1, which version 2 has superseded."""
    made = Versions(tmp_path)
    made.becomes("1")
    with made.served() as (_, client):
        client.add_vectors(names(100), vectors(100), model="given")
    made.becomes("2")
    return made


def names(count, start=0):
    return [f"item {number}" for number in range(start, start + count)]


def vectors(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def listed(client):
    return {model.name: model for model in client.models()}


def folders(versions):
    return {path.name for path in (versions.folder / "data" / "segments").glob("*")}


def test_a_superseded_version_is_listed_with_its_size_and_not_opened_for_that(versions):
    with versions.served() as (_, client):
        for _ in range(2):
            old = listed(client)[OLD]
            assert (old.state, old.items, old.feature_dim) == ("superseded", 100, DIM)
            assert old.fingerprint == V1
            assert old.disk_bytes > 100 * DIM * 4
            assert old.index is None
        client.remove("item 7")
        assert (listed(client)[OLD].items, listed(client)[OLD].index) == (99, None)
        found = client.find_similar(id="item 1", model=OLD, top_k=1000)[OLD]
        assert len(found.ids) == 98
        assert "item 7" not in found.ids
        assert (listed(client)[OLD].items, listed(client)[OLD].index.unindexed_rows) == (99, 99)


def test_a_version_whose_items_are_all_gone_is_not_listed(versions):
    with versions.served() as (_, client):
        for name in names(100):
            client.remove(name)
        assert [*listed(client)] == ["given"]


def test_what_the_new_version_replaces_stays_in_the_old_one(versions):
    with versions.served() as (_, client):
        client.add_vectors(names(100), vectors(100, seed=2), model="given")
        assert len(client.find_similar(id="item 1", model=OLD, top_k=200)[OLD].ids) == 99
        found = client.find_similar(vector=vectors(100)[4], model=OLD, top_k=1)[OLD]
        assert found.ids == ("item 4",)


def test_a_dropped_version_is_gone_at_once_and_its_disk_space_soon(versions):
    with versions.served(index={"compact_rows": 10}) as (server, client):
        client.add_vectors(names(50), vectors(50, seed=2), model="given")
        client.find_similar(id="item 1", model=OLD)
        wait_for(lambda: len(folders(versions)) == 2, "a segment of each version")
        wait_for(lambda: not listed(client)[OLD].index.building, "the end of the build")
        assert client.drop_model_version(OLD) is None
        assert OLD not in listed(client)
        with pytest.raises(euclidesdb.UnknownModel):
            client.find_similar(id="item 1", model=OLD)
        assert [each.fingerprint for each in client.get("item 1").embeddings] == [V2]
        assert client.get("item 99").embeddings == ()
        with pytest.raises(euclidesdb.UnknownModel, match="the superseded versions are: none"):
            client.drop_model_version(OLD)
        assert len(client.find_similar(id="item 1", model="given", top_k=99)["given"].ids) == 49
        wait_for(lambda: folders(versions) == {"2"}, "deleted segments")
        assert server.drops.wait_idle(60)
        (record,) = server.database._store.spaces()
        assert record.number == 2
    assert main(["verify", "--data", str(versions.folder / "data")]) == 0
    with versions.served() as (_, client):
        assert [*listed(client)] == ["given"]
        assert client.get("item 99", include_payload=True).attributes == {}
        client.remove("item 99")


def test_a_dropped_version_that_is_loaded_again_begins_empty(versions):
    with versions.served() as (server, client):
        client.drop_model_version(OLD)
        versions.becomes("1")
        assert client.reload_model("given").items == 0
        client.add("item 1", vectors={"given": vectors(1)[0]})
        assert server.drops.wait_idle(60)
    with versions.served() as (_, client):
        assert listed(client)["given"].items == 1
        assert client.find_similar(id="item 1", model="given", include_self=True)["given"].ids


def test_a_version_that_has_been_superseded_while_the_server_runs_can_be_dropped(versions):
    versions.becomes("1")
    with versions.served() as (server, client):
        versions.becomes("2")
        client.reload_model("given")
        assert listed(client)[OLD].items == 100
        client.drop_model_version(OLD)
        assert server.drops.wait_idle(60)
        assert [*listed(client)] == ["given"]


def test_the_version_in_service_and_unknown_ones_are_not_dropped(versions):
    with versions.served() as (server, client), Stubs(server.address) as stubs:
        for name, status, reason in (
            ("given", STATUS.INVALID_ARGUMENT, "invalid_request"),
            (f"given@{V2}", STATUS.INVALID_ARGUMENT, "invalid_request"),
            (f"given@{V3}", STATUS.NOT_FOUND, "unknown_model"),
            ("", STATUS.NOT_FOUND, "unknown_model"),
        ):
            refused = refusal(stubs.v1.DropModelVersion, v1.DropModelVersionRequest(name=name))
            assert (refused.status, refused.reason) == (status, reason)
            assert repr(name) in refused.message
        client.unload_model("given")
        refused = refusal(stubs.v1.DropModelVersion, v1.DropModelVersionRequest(name=f"given@{V2}"))
        assert refused.status is STATUS.INVALID_ARGUMENT
        assert listed(client)[OLD].items == 100


def test_a_server_can_be_configured_to_refuse_drops(versions):
    forbidden = {"allow_model_changes": False}
    with versions.served(server=forbidden) as (server, client), Stubs(server.address) as stubs:
        refused = refusal(stubs.v1.DropModelVersion, v1.DropModelVersionRequest(name=OLD))
        assert (refused.status, refused.reason) == (STATUS.PERMISSION_DENIED, "not_allowed")
        assert listed(client)[OLD].items == 100


def test_the_commands_list_and_drop_versions(versions, capsys):
    with versions.served() as (server, _):
        assert main(["models", "--address", server.address]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if OLD in line]
        assert any("superseded" in line for line in lines)
        assert any("MiB" in line for line in lines)
        assert main(["model", "drop", OLD, "--address", server.address]) == 0
        assert f"version '{OLD}' is dropped" in capsys.readouterr().out
        assert main(["model", "drop", OLD, "--address", server.address]) == 1
        assert "no version" in capsys.readouterr().err
        assert main(["models", "--address", server.address]) == 0
        assert OLD not in capsys.readouterr().out


def test_adds_searches_and_removals_go_on_while_a_version_is_dropped(tmp_path):
    count = 20_000
    versions = Versions(tmp_path)
    versions.becomes("1")
    with versions.served(database={"sync": False}) as (_, client):
        client.add_vectors(names(count), vectors(count), model="given")
    versions.becomes("2")
    stop, failures, kept = threading.Event(), [], [set(), set(), set()]

    def write(number, address):
        """Gives items of its own a vector of version 2, and removes some of them."""
        chance = np.random.default_rng(number)
        try:
            with euclidesdb.Client(address) as client:
                while not stop.is_set():
                    chosen = 3 * chance.integers(0, count // 3, 50) + number
                    ids = [f"item {each}" for each in sorted({*chosen.tolist()})]
                    client.add_vectors(ids, vectors(len(ids)), model="given")
                    kept[number].update(ids)
                    client.remove(ids[0])
                    kept[number].discard(ids[0])
                    found = client.find_similar(id=ids[1], model="given", include_self=True)
                    assert ids[1] in found["given"].ids
        except Exception as error:
            failures.append(error)

    with versions.served(database={"sync": False}) as (server, client):
        threads = [threading.Thread(target=write, args=(n, server.address)) for n in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(kept), "writers at work")
        client.drop_model_version(OLD)
        assert server.drops.wait_idle(120)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        expected = set().union(*kept)
        assert listed(client)["given"].items == len(expected)
        for item_id in sorted(expected)[::100]:
            assert [each.fingerprint for each in client.get(item_id).embeddings] == [V2]
    assert main(["verify", "--data", str(tmp_path / "data")]) == 0
