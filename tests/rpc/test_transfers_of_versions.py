"""Exports and imports of several versions of a model, and imports that are cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import euclidesdb
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

DIM = 8
COUNT = 50


@contextmanager
def served(folder, version):
    save_vector_space(folder / "models", feature_dim=DIM, more=f"version = {version}\n")
    with (
        start_server(folder / "data", folder / "models") as server,
        euclidesdb.Client(server.address) as client,
    ):
        yield client


@pytest.fixture
def versions(tmp_path):
    """Items 0 to 49 with vectors of version 1, of which 0 to 24 have one of version 2, too."""
    numbers = np.random.default_rng(0).normal(size=(2, COUNT, DIM))
    ids = [f"{number:02}" for number in range(COUNT)]
    with served(tmp_path, 1) as client:
        assert not client.add_vectors(ids, numbers[0], model="given")
    with served(tmp_path, 2) as client:
        assert not client.add_vectors(ids[:25], numbers[1, :25], model="given")
        yield client


def old_name(client):
    (name,) = [model.name for model in client.models() if model.state == "superseded"]
    return name


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "npz"])
def test_vectors_of_former_versions_come_back(versions, tmp_path, suffix):
    file = tmp_path / f"items.{suffix}"
    before = versions.export().to_arrow()
    old = old_name(versions)
    assert before[f"vector:{old}"].null_count == 0
    assert before["vector:given"].null_count == 25
    assert versions.export_file(file) == COUNT
    versions.remove_many(before["id"].to_pylist()[10:40])
    changes = euclidesdb.Changes(added=30, unchanged=COUNT - 30)
    assert versions.import_file(file) == euclidesdb.Imported(COUNT, (), changes)
    after = versions.export().to_arrow()
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after.sort_by("id").equals(before.sort_by("id"))
    near = versions.find_similar(id="30", model=old, top_k=3, include_self=True)[old]
    assert near.ids[0] == "30"
    assert versions.find_similar(id="15", model="given", top_k=30)["given"].ids


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "npz"])
def test_a_server_without_the_former_version_refuses_it_until_it_is_left_out(
    versions, tmp_path, suffix
):
    file = tmp_path / f"items.{suffix}"
    versions.export_file(file)
    with served(tmp_path / "second", 2) as second:
        with pytest.raises(euclidesdb.VersionMismatch, match="models"):
            second.import_file(file)
        assert second.count() == 0
        assert second.import_file(file, models=["given"]).items == COUNT
        assert second.count({"given.vector": {"$exists": True}}) == 25
        assert second.count() == COUNT


def test_an_import_that_is_killed_leaves_whole_items_and_can_be_repeated(tmp_path):
    count = 60_000
    numbers = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    np.savez(tmp_path / "items.npz", ids=np.arange(count), v=numbers)
    with served(tmp_path, 1) as client:
        target = client.target
        program = (
            f"import euclidesdb; euclidesdb.Client({target!r}).import_file("
            f"{str(tmp_path / 'items.npz')!r}, vectors={{'v': 'given'}}, bytes_per_call=20_000)"
        )
        importing = subprocess.Popen([sys.executable, "-c", program])
        wait_for(lambda: client.count() > 1000, "some items to be imported")
        importing.send_signal(signal.SIGKILL)
        assert importing.wait() == -signal.SIGKILL
        table = client.export().to_arrow()
        there = table.num_rows
        assert 1000 < there < count
        assert table["id"].to_pylist() == [str(number) for number in range(there)]
        vectors = np.stack(table["vector:given"].combine_chunks().to_numpy(zero_copy_only=False))
        assert vectors.tobytes() == numbers[:there].tobytes()
        assert client.import_file(tmp_path / "items.npz", vectors={"v": "given"}).items == count
        assert client.count() == count
