"""Makes a database of a few items by the server of a checkout, with what it answers.

    python tests/store/formats/make.py [--everything] FOLDER

`1` was made so by the commit before b3844b6, which wrote the last store of format 1: with its
server, client and protos folders in PYTHONPATH. `2` was made by the commit that added it.
`euclidesdb` was made with `--euclidesdb`: a database as databasemanager.cpp of EuclidesDB writes
it, with what it should answer. Whenever the format changes, its last version is kept like this.

`2-everything` was made with `--everything`: it has each kind of record and field of format 2, also
those that came after `2`, with what the server says of them in `more.json`.
"""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import euclidesdb

DIM = 4
ROWS = 30
CONFIG = """
[server]
address = 127.0.0.1:0
search_engine = exact
[models]
dir_path = {folder}/models
[database]
db_path = {folder}/data
[index]
compact_rows = 12
"""
MODEL = """[model]
name = vectors
input = vector
feature_dim = 4
"""


def answers_of(client: euclidesdb.Client) -> dict[str, Any]:
    """What a server says of the items, as JSON."""
    ids = [f"{number}" for number in range(ROWS + 5)]
    items: dict[str, Any] = {}
    for item_id in ids:
        try:
            item = client.get(item_id, include_vectors=True)
        except euclidesdb.UnknownItem:
            continue
        items[item_id] = {
            "attributes": item.attributes,
            "metadata": item.metadata.decode(),
            "vectors": {each.model: floats(each.vector) for each in item.embeddings},
        }
    near = {}
    for query in ([1.0, 0.0, 0.0, 0.0], [0.5, -1.0, 2.0, 0.25]):
        found = client.find_similar(vector=query, model="vectors", top_k=ROWS)["vectors"]
        near[str(query)] = [[each.id, float(each.distance)] for each in found]
    return {"items": items, "near": near}


def more_of(client: euclidesdb.Client) -> dict[str, Any]:
    """What a server says of failures and embedding jobs, as JSON."""
    items: dict[str, Any] = {}
    for item_id in sorted(item.id for item in client.items() if item.id.startswith("t")):
        item = client.get(item_id, include_vectors=True, include_predictions=True,
                          include_states=True)  # fmt: skip
        items[item_id] = {
            "attributes": item.attributes,
            "vectors": {each.model: floats(each.vector) for each in item.embeddings},
            "states": {each.model: each.state for each in item.states or ()},
            "failures": [
                [each.failure.reason, each.failure.message, each.failure.time.isoformat()]
                for each in item.states or ()
                if each.failure
            ],
        }
    jobs = [[each.id, each.state, each.model, each.done, each.failed] for each in client.jobs()]
    return {"items": items, "jobs": jobs}


def add_more(client: euclidesdb.Client) -> None:
    """What came after the first commit of format 2: failures, jobs, and states that they change."""
    for number in range(-3, 4):
        client.add(
            f"t{number}",
            tensor=np.array([number, 1.0], np.float32),
            models=["uneven"],
            attributes={"n": number},
            raise_on_failure=False,
        )
    client.update("t1", attributes={"n": 1.5})  # only the changed label names this write
    client.add("t2", vectors={"vectors": [2.0, 2.0, 2.0, 2.0]})
    client.remove("t3")
    job = client.embed("uneven", state="failed")
    assert client.wait_for_job(job.id, timeout=60).failed


def save_uneven(folder: Path) -> None:
    """A model of pairs of numbers that fails on those whose first one is negative."""
    from tests.support.models import save_model  # noqa: PLC0415  needs torch
    from tests.support.uneven import Uneven  # noqa: PLC0415

    save_model(folder, "uneven", module=Uneven(), feature_dim=2, prediction_dim=2,
               input="tensor", input_shape="2")  # fmt: skip


def floats(vector: Any) -> list[float]:
    return [float(value) for value in vector]


def serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server of the data and models in a folder; returns its address, too."""
    conf = folder / "euclidesdb.conf"
    conf.write_text(CONFIG.format(folder=folder))
    command = [sys.executable, "-m", "euclidesdb_server", "serve", "-c", str(conf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().rpartition(" ")[2].strip()


def make(folder: Path, *, everything: bool = False) -> None:
    """Fill a database by the server that is installed. everything: with what `add_more` adds."""
    (folder / "models" / "vectors").mkdir(parents=True)
    (folder / "models" / "vectors" / "model.conf").write_text(MODEL)
    if everything:
        save_uneven(folder / "models")
    process, address = serve(folder)
    chance = np.random.default_rng(1)
    with euclidesdb.Client(address) as client:
        for number in range(ROWS):
            client.add(
                f"{number}",
                vectors={"vectors": chance.integers(-9, 10, DIM) / 4},
                attributes={"n": number, "name": f"é {number}"},
                metadata=f"about {number}".encode(),
            )
        while not [*folder.glob("data/segments/*/*/manifest.json")]:
            time.sleep(0.1)
        for item_id in ("3", "17", "28"):  # of a segment, and of unindexed rows
            client.remove(item_id)
        client.add("5", vectors={"vectors": [0.5, 0.5, 0.5, 0.5]}, attributes={"n": -5})
        client.add("6", attributes={"n": 6.5}, metadata=b"changed", vectors={"vectors": [9] * DIM})
        if everything:
            add_more(client)
            write_json(folder / "more.json", more_of(client))
        answers = answers_of(client)
    write_json(folder / "answers.json", answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    tidy(folder)


def write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def make_euclidesdb(folder: Path) -> None:
    """Write a database of EuclidesDB (C++)."""
    import plyvel  # noqa: PLC0415  not in the other case

    from euclidesdb_protos.legacy import euclidesproto_pb2 as pb  # noqa: PLC0415

    (folder / "models" / "vectors").mkdir(parents=True)
    (folder / "models" / "vectors" / "model.conf").write_text(MODEL)
    database = plyvel.DB(str(folder / "data"), create_if_missing=True, compression="snappy")
    version = pb.EuclidesDBMetadata(database_version=1)
    database.put(b"__euclidesdb_metadata", version.SerializeToString())
    chance = np.random.default_rng(1)
    for number in range(ROWS):
        vector = pb.ItemVectors(model="vectors", features=chance.integers(-9, 10, DIM) / 4)
        item = pb.ItemData(item_id=number, metadata=f"about {number}".encode(), vectors=[vector])
        database.put(struct.pack("=i", number), item.SerializeToString())
    database.close()
    original = {path.name: path.read_bytes() for path in (folder / "data").iterdir()}
    process, address = serve(folder)
    with euclidesdb.Client(address) as client:
        answers = answers_of(client)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    for path in [*(folder / "data").rglob("*")][::-1]:
        path.rmdir() if path.is_dir() else path.unlink()
    for name, content in original.items():
        (folder / "data" / name).write_bytes(content)
    write_json(folder / "answers.json", answers)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Delete what does not belong to the format."""
    (folder / "euclidesdb.conf").unlink()
    for name in ("LOG", "LOG.old", "LOCK"):
        for path in folder.rglob(name):
            path.unlink()


if __name__ == "__main__":
    *options, target = sys.argv[1:]
    if options == ["--euclidesdb"]:
        make_euclidesdb(Path(target).resolve())
    else:
        make(Path(target).resolve(), everything=options == ["--everything"])
