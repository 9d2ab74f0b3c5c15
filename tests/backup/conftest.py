"""A server with images and vectors in several segments, and the commands for backups."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import euclidesdb
from euclidesdb_server.__main__ import main
from euclidesdb_server.app import Server
from tests.support.images import encoded, noise
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
DIM = 8
ROWS = 300


class Ran(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def serve(data: Path, models: Path) -> Server:
    """A server whose segments are small, and built by faiss."""
    return start_server(
        data,
        models,
        engine="faiss",
        engines={"faiss": {"index_type": "HNSW8", "metric": "cosine"}},
        index={"compact_rows": 100, "merge_factor": 3, "recall_interval": 0},
        database={"write_buffer_kib": 64},
        strict=True,
    )


def fill(client: euclidesdb.Client) -> None:
    """Items of all kinds: added, replaced, updated and removed ones."""
    chance = np.random.default_rng(1)
    for start in range(0, ROWS, 100):
        client.add_vectors(
            [f"row {number}" for number in range(start, start + 100)],
            chance.normal(size=(100, DIM)).astype(np.float32),
            model="given",
            attributes=[{"n": number, "half": number / 2} for number in range(start, start + 100)],
        )
    for number in range(8):
        client.add(
            f"image {number}",
            image=encoded(noise(number, 8, "L")),
            models=["digits"],
            metadata=b"\0m",
        )
    for number in range(0, 40, 3):
        client.remove(f"row {number}")
    client.update("row 1", attributes={"n": -1, "new": "é"})
    client.add("row 2", vectors={"given": [1.0] * DIM}, attributes={"n": 2.5})


def answers_of(client: euclidesdb.Client) -> Mapping[str, Any]:
    """What a server answers, to be compared bit for bit."""
    queries = np.random.default_rng(2).normal(size=(20, DIM)).astype(np.float32)
    searches = client.find_similar_many(vectors=queries, model="given", top_k=20)
    filtered = client.find_similar(vector=queries[0], model="given", filter="n < 50", top_k=30)
    image = encoded(noise(99, 8, "L"))
    by_image = client.find_similar(image=image, model="digits", top_k=5, include_attributes=True)
    found = [*(each["given"] for each in searches), filtered["given"], by_image["digits"]]
    exported = client.export(include_payloads=True).to_arrow().combine_chunks()
    return {
        "searches": [(each.ids, each.distances.tobytes()) for each in found],
        "gets": [
            repr(client.get(each, include_vectors=True, include_predictions=True))
            for each in ("row 1", "row 2", "image 3")
        ],
        "items": exported.to_pylist(),
        "counts": [client.count(), client.count("n < 100"), client.count('new == "é"')],
        "order": [item.id for item in client.items("exists(n)", order_by="n", page_size=1000)],
        "models": [(each.name, each.fingerprint, each.items) for each in client.models()],
    }


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(
        ROOT / "models" / "digits", folder / "digits", ignore=shutil.ignore_patterns("__pycache__")
    )
    return save_vector_space(folder, feature_dim=DIM).parent


@pytest.fixture(scope="package")
def source(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Server]:
    """A server with items, which no test changes."""
    data = tmp_path_factory.mktemp("source") / "data"
    with serve(data, models) as server:
        with euclidesdb.Client(server.address) as client:
            fill(client)
            client.count("n < 0")  # makes the columns
            wait_for(lambda: is_at_rest(client, data), "the end of work in the background")
        yield server


def is_at_rest(client: euclidesdb.Client, data: Path) -> bool:
    """Whether no index is being built, and no file has changed for a while."""
    indexes = [model.index for model in client.models() if model.index is not None]
    return not any(index.building for index in indexes) and is_unchanged(data, 3)


def is_unchanged(folder: Path, seconds: float) -> bool:
    """Whether no file of a folder has come, gone or grown in some seconds."""

    def sizes() -> dict[Path, int]:
        with suppress(FileNotFoundError):
            return {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        return {}

    before = sizes()
    time.sleep(seconds)
    return sizes() == before != {}


@pytest.fixture
def command(
    source: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Runs a command against the source."""
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", source.address)

    def run(*arguments: Any) -> Ran:
        code = main([*map(str, arguments)])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


def backed_up(ran: Ran) -> dict[str, Any]:
    """What `backup --json` printed."""
    assert (ran.code, ran.err) == (0, "")
    made: dict[str, Any] = json.loads(ran.out)
    return made
