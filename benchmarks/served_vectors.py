"""Shared by the benchmarks of search and storage: vectors, a server of them, prepared calls.

The vectors are clustered and have 128 dimensions. They are in a space of ready-made vectors, so no
model runs. The server and the program that it is compared with are separate processes, measured
one after the other, and receive the same prepared bytes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.demo.server_process import ServerProcess

DIM = 128
SERVICE = "/euclidesdb.v1.FeatureDatabase/"
SPACE = "vectors"
MODEL = "[model]\nname = {name}\ninput = vector\nfeature_dim = {dim}\n"
CONFIG = """
[models]
dir_path = models
[database]
db_path = data
[server]
search_engine = {engine}
transport = {transport}
[faiss]
index_type = HNSW32
[index]
compact_rows = {compact_rows}
recall_interval = 0
"""

Floats = npt.NDArray[np.float32]


def clustered_blocks(
    rows: int, seed: int = 0, *, dim: int = DIM, size: int = 100_000
) -> Iterator[Floats]:
    """Vectors in a thousand clusters, similar to the features of real items: `size` at a time."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(1).standard_normal((1000, dim)).astype(np.float32)
    for start in range(0, rows, size):
        count = min(size, rows - start)
        noise = generator.standard_normal((count, dim), np.float32)
        yield centers[generator.integers(0, 1000, count)] + 0.5 * noise


def clustered(rows: int, seed: int = 0, *, dim: int = DIM) -> Floats:
    """The vectors of `clustered_blocks` as one matrix."""
    made = np.empty((rows, dim), np.float32)
    start = 0
    for block in clustered_blocks(rows, seed, dim=dim):
        made[start : start + len(block)] = block
        start += len(block)
    return made


@contextmanager
def serving(
    folder: Path,
    engine: str,
    compact_rows: int = 10_000,
    *,
    dim: int = DIM,
    models: Sequence[str] = (SPACE,),
    transport: str = "auto",
) -> Iterator[ServerProcess]:
    """A server of vector spaces, with its data in `folder`, where it is kept."""
    for name in models:
        model = folder / "models" / name
        model.mkdir(parents=True, exist_ok=True)
        (model / "model.conf").write_text(MODEL.format(name=name, dim=dim))
    config = folder / "euclidesdb.conf"
    config.write_text(CONFIG.format(engine=engine, compact_rows=compact_rows, transport=transport))
    with ServerProcess(data=folder / "data", log=folder / "log", config=config) as server:
        server.start()
        yield server
        server.stop()


def load(server: ServerProcess, vectors: Floats, *, first: int = 0) -> None:
    """Add the vectors, and wait until they are one segment."""
    with euclidesdb.Client(server.address, timeout=600) as client:
        ids = [f"item-{first + row}" for row in range(len(vectors))]
        refused = client.add_vectors(ids, vectors, model="vectors")
        if refused:
            raise SystemExit(f"refused: {refused[0]}")
    index_all(server)


def index_all(server: ServerProcess) -> None:
    """Have all rows built into one segment, and wait for it."""
    with euclidesdb.Client(server.address) as client, grpc.insecure_channel(server.address) as raw:
        refresh: Any = raw.unary_unary("/euclidesproto.Similar/Shutdown")
        while True:
            index = index_info(client)
            if index is not None and not index.building:
                if index.failure:
                    raise SystemExit(f"the index could not be built: {index.failure}")
                if (
                    index.segments <= 1
                    and index.unindexed_rows == 0
                    and "not built" not in index.description
                ):
                    return
                refresh(legacy.ShutdownRequest(shutdown_type=1).SerializeToString())
            time.sleep(0.1)


def index_info(client: euclidesdb.Client) -> euclidesdb.IndexInfo | None:
    """The state of the index of SPACE."""
    (index,) = (model.index for model in client.models() if model.name == SPACE)
    return index


def call_again(
    address: str, method: str, requests: Sequence[bytes], *, callers: int, seconds: float
) -> list[float]:
    """Make prepared calls from several threads; return the seconds that each call took."""
    numbers = itertools.count()
    took: list[float] = []
    with grpc.insecure_channel(
        address, options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        call: Any = channel.unary_unary(SERVICE + method)
        call(requests[0])
        end = time.perf_counter() + seconds

        def work() -> None:
            while (started := time.perf_counter()) < end:
                call(requests[next(numbers) % len(requests)])
                took.append(time.perf_counter() - started)

        threads = [threading.Thread(target=work, name=f"caller-{n}") for n in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return took


def array(values: Floats) -> pb.Array:
    """The values as an Array message."""
    return pb.Array(
        data_type=pb.DATA_TYPE_FLOAT32, shape=values.shape, data=values.astype("<f4").tobytes()
    )


def row(what: str, measured: str, ratio: str, target: str) -> None:
    """Print one row of the table."""
    print(f"| {what} | {measured} | {ratio} | {target} |", flush=True)
