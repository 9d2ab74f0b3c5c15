"""Durable writes over gRPC, compared with the same bytes written directly into LevelDB.

    python benchmarks/storage.py [--rows 100000] [--seconds 5] [--only bulk writers]

Compare the ratios: absolute times depend on the machine and on what else it is running.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from served_vectors import DIM, SERVICE, Floats, array, call_again, clustered, row, serving

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.store import ItemRecord, keys

RAW_WRITES = """
import pickle, sys, time
import plyvel
folder, rows, size = sys.argv[1], pickle.load(open(sys.argv[2], "rb")), int(sys.argv[3])
options = dict(write_buffer_size=16 << 20, lru_cache_size=32 << 20, bloom_filter_bits=10)
database = plyvel.DB(folder, create_if_missing=True, **options)
started = time.perf_counter()
for start in range(0, len(rows), size):
    batch = database.write_batch(sync=True)
    for item in rows[start:start + size]:
        for key, value in item:
            batch.put(key, value)
    batch.write()
print(len(rows) / (time.perf_counter() - started))
"""


def measure_bulk(folder: Path, vectors: Floats) -> None:
    """Durable bulk adds compared with the same bytes written directly with plyvel."""
    size = 1000
    requests = [
        pb.AddVectorsRequest(
            model="vectors",
            ids=[f"bulk-{row}" for row in range(start, start + size)],
            vectors=array(vectors[start : start + size]),
        ).SerializeToString()
        for start in range(0, len(vectors), size)
    ]
    rows = [
        [
            (keys.item_key(f"bulk-{at}"), ItemRecord(labels={1: at + 1}).packed()),
            (keys.label_key(at + 1), f"bulk-{at}".encode()),
            (keys.row_key(keys.VECTOR, 1, at + 1), vector.tobytes()),
        ]
        for at, vector in enumerate(vectors)
    ]
    (folder / "rows").write_bytes(pickle.dumps(rows))
    command = [
        sys.executable,
        "-c",
        RAW_WRITES,
        str(folder / "raw"),
        str(folder / "rows"),
        str(size),
    ]
    raw = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for callers in (1, 2):
        with serving(folder / f"bulk-{callers}", "faiss", compact_rows=10**9) as server:
            numbers = itertools.count()
            with grpc.insecure_channel(server.address) as channel:
                call: Any = channel.unary_unary(SERVICE + "AddVectors")

                def work(
                    call: Callable[[bytes], bytes] = call, numbers: Iterator[int] = numbers
                ) -> None:
                    while (number := next(numbers)) < len(requests):
                        reply = pb.AddVectorsReply.FromString(call(requests[number]))
                        if reply.refused:
                            raise SystemExit(f"refused: {reply.refused[0]}")

                threads = [threading.Thread(target=work) for _ in range(callers)]
                started = time.perf_counter()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                ours = len(vectors) / (time.perf_counter() - started)
        row(
            f"bulk add, {size} vectors per call, durable, {callers} caller(s)",
            f"{ours:,.0f} items/s; plyvel alone {raw:,.0f}",
            f"{ours / raw:.2f}",
            "0.5",
        )


STORE_WRITERS = """
import sys, threading, time
import numpy as np
from pathlib import Path
from euclidesdb_server.store import FeatureStore, ItemRecord, ItemWrite
from euclidesdb_server.values.embedding import Embedding
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
vector = np.ones(128, np.float32)
with FeatureStore(folder) as store:
    space = store.open_space("vectors", "1", 128).number
    for writers in (1, 4, 16, 64):
        done, end = [0] * writers, time.perf_counter() + seconds
        def work(writer):
            while time.perf_counter() < end:
                with store.labels.allocate() as (label,):
                    record = ItemRecord(labels={space: label})
                    name = f"{writers}-{writer}-{done[writer]}"
                    embeddings = {space: Embedding(vector, None)}
                    store.write(ItemWrite(name, label, None, record, embeddings))
                done[writer] += 1
        threads = [threading.Thread(target=work, args=(n,)) for n in range(writers)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(writers, sum(done) / seconds)
"""


def measure_store_writers(seconds: float) -> None:
    """Group commit in the store, without gRPC."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-c", STORE_WRITERS, str(Path(name, "store")), str(seconds)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rates = {int(line.split()[0]): float(line.split()[1]) for line in output.splitlines()}
    for writers, rate in rates.items():
        row(
            f"single synced writes/s into the store, {writers} writer(s)",
            f"{rate:,.0f}/s",
            f"{rate / rates[1]:.2f} of one writer's",
            "increases",
        )


def measure_writers(seconds: float) -> None:
    """Group commit: synced adds/s of one item per call, from an increasing number of callers."""
    vectors = clustered(1000, seed=5)
    rates: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name, serving(Path(name), "exact", 10**9) as server:
        for callers in (1, 4, 16, 64):
            requests = []
            for number in range(20_000):
                request = pb.AddItemRequest(id=f"{callers}-{number}")
                vector = pb.Vector(values=array(vectors[number % 1000]))
                request.vectors["vectors"].CopyFrom(vector)
                requests.append(request.SerializeToString())
            took = call_again(server.address, "AddItem", requests, callers=callers, seconds=seconds)
            rates[callers] = len(took) / seconds
            row(
                f"single synced adds/s over gRPC, {callers} writer(s)",
                f"{rates[callers]:,.0f}/s",
                f"{rates[callers] / rates[1]:.2f} of one writer's",
                "increases",
            )


MEASUREMENTS = ("bulk", "writers")


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="for the bulk adds")
    parser.add_argument("--seconds", type=float, default=5.0, help="per other measurement")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; vectors of {DIM}\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    if "bulk" in options.only:
        with tempfile.TemporaryDirectory() as name:
            measure_bulk(Path(name), clustered(options.rows))
    if "writers" in options.only:
        measure_store_writers(options.seconds)
        measure_writers(options.seconds)


if __name__ == "__main__":
    main()
