"""Searches over gRPC, compared with direct calls of faiss and with a server that only echoes.

    python benchmarks/search.py [--rows 100000] [--seconds 5] [--only batch single kept]

Compare the ratios: absolute times depend on the machine and on what else it is running.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from served_vectors import (
    DIM,
    SERVICE,
    Floats,
    array,
    call_again,
    clustered,
    index_all,
    load,
    row,
    serving,
)

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.config.server import Transport
from euclidesdb_server.demo.server_process import ServerProcess

TOP_K = 10


def single_requests(queries: Floats) -> list[bytes]:
    """One search request per query."""
    return [
        pb.FindSimilarRequest(
            query=pb.Query(vector=pb.Vector(values=array(query))), models=["vectors"], top_k=TOP_K
        ).SerializeToString()
        for query in queries
    ]


def batch_requests(queries: Floats, size: int) -> list[bytes]:
    """Search requests of `size` queries each."""
    return [
        pb.FindSimilarBatchRequest(
            vectors=pb.VectorQueries(values=array(queries[start : start + size])),
            models=["vectors"],
            top_k=TOP_K,
        ).SerializeToString()
        for start in range(0, len(queries), size)
    ]


DIRECT = """
import json, sys, time
from pathlib import Path
import faiss, numpy as np
from euclidesdb_server.engines.faiss_index import read_without_rows, refer_to_rows
from euclidesdb_server.engines.vectors import load_vectors
index_file, query_file, top_k, batch, seconds = sys.argv[1:]
top_k, batch, seconds = int(top_k), int(batch), float(seconds)
faiss.omp_set_num_threads(1)
queries = np.load(query_file)
vectors = load_vectors(Path(index_file).parent)
index = read_without_rows(Path(index_file))
refer_to_rows(index, vectors)
took, done, end = [], 0, time.perf_counter() + seconds
while (started := time.perf_counter()) < end:
    start = done % (len(queries) - batch + 1)
    index.search(queries[start:start + batch], top_k)
    took.append(time.perf_counter() - started)
    done += batch
status = open("/proc/self/status").read()
rss = int(status.split("VmRSS:")[1].split()[0]) << 10
median = sorted(took)[len(took) // 2]
print(json.dumps({"per_second": done / sum(took), "median": median, "rss": rss}))
"""


def faiss_alone(folder: Path, queries: Floats, *, batch: int, seconds: float) -> dict[str, float]:
    """The segment's index searched by faiss in a separate process, with one thread."""
    (index,) = folder.glob("data/segments/*/*/index.faiss")
    np.save(folder / "queries.npy", queries)
    arguments = [str(index), str(folder / "queries.npy"), str(TOP_K), str(batch), str(seconds)]
    output = subprocess.run(
        [sys.executable, "-c", DIRECT, *arguments], check=True, capture_output=True, text=True
    ).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


ECHO = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from euclidesdb_protos.v1 import database_pb2 as pb, database_pb2_grpc
reply = pb.FindSimilarReply.FromString(open(sys.argv[1], "rb").read())
class Echo(database_pb2_grpc.FeatureDatabaseServicer):
    def FindSimilar(self, request, context):
        return reply
server = grpc.server(ThreadPoolExecutor(80), options=[("grpc.so_reuseport", 0)])
database_pb2_grpc.add_FeatureDatabaseServicer_to_server(Echo(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
threading.Event().wait()
"""


@contextmanager
def echoing(folder: Path, reply: bytes) -> Iterator[str]:
    """The address of a server that parses each search and returns a prepared reply."""
    (folder / "reply").write_bytes(reply)
    process = subprocess.Popen(
        [sys.executable, "-c", ECHO, str(folder / "reply")], stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"127.0.0.1:{int(process.stdout.readline() if process.stdout else '')}"
    finally:
        process.kill()
        process.wait()


def measure_batch(folder: Path, server: ServerProcess, queries: Floats, seconds: float) -> None:
    """Batch search compared with direct calls of faiss."""
    direct = faiss_alone(folder, queries, batch=100, seconds=seconds)["per_second"]
    requests = batch_requests(queries, 100)
    for callers in (1, 2):
        took = call_again(
            server.address, "FindSimilarBatch", requests, callers=callers, seconds=seconds
        )
        ours = 100 * len(took) / seconds
        row(
            f"batch search, 100 queries per call, {callers} caller(s)",
            f"{ours:,.0f} queries/s; faiss alone, 1 thread {direct:,.0f}",
            f"{ours / direct:.2f}",
            "0.8",
        )


def measure_single(
    folder: Path, server: ServerProcess, transport: str, queries: Floats, seconds: float
) -> None:
    """Single searches compared with the engine alone, and with a grpcio server that only echoes."""
    direct = faiss_alone(folder, queries, batch=1, seconds=seconds)["median"]
    requests = single_requests(queries)
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary(SERVICE + "FindSimilar")
        reply = call(requests[0])
    with echoing(folder, reply) as echo:
        for callers in (1, 8):
            figures, tails = {}, {}
            for name, address in (("echo", echo), ("ours", server.address)):
                took = call_again(
                    address, "FindSimilar", requests, callers=callers, seconds=seconds
                )
                figures[name] = (float(np.median(took)), len(took) / seconds)
                tails[name] = float(np.quantile(took, 0.99)) / figures[name][0]
            if callers == 1:
                beyond = figures["ours"][0] - direct
                row(
                    f"{transport}: single search, 1 caller: beyond the engine's time",
                    f"p50 {figures['ours'][0] * 1e3:.2f} ms, engine {direct * 1e3:.2f} ms, "
                    f"echo server {figures['echo'][0] * 1e3:.2f} ms",
                    f"{beyond * 1e3:.2f} ms",
                    "0.6 ms",
                )
            row(
                f"{transport}: single searches/s, {callers} caller(s), compared with echo",
                f"{figures['ours'][1]:,.0f}/s; echo {figures['echo'][1]:,.0f}/s",
                f"{figures['ours'][1] / figures['echo'][1]:.2f}",
                "0.8" if callers == 8 else "",
            )
            row(
                f"{transport}: p99 / p50 of single searches, {callers} caller(s)",
                f"p50 {figures['ours'][0] * 1e3:.2f} ms; echo {tails['echo']:.1f}",
                f"{tails['ours']:.1f}",
                "at most 2" if callers == 8 else "",
            )


def measure_kept(server: ServerProcess, queries: Floats, seconds: float) -> None:
    """Searches/s while 500 items/s are added."""
    requests = single_requests(queries)
    vectors = clustered(20_000, seed=7)
    for per_call in (50, 1):
        alone = call_again(server.address, "FindSimilar", requests, callers=8, seconds=seconds)
        stop = threading.Event()
        added = [0]

        def add(
            per_call: int = per_call, stop: threading.Event = stop, added: list[int] = added
        ) -> None:
            with euclidesdb.Client(server.address) as client:
                started = time.perf_counter()
                while not stop.wait(max(0.0, started + added[0] / 500 - time.perf_counter())):
                    ids = [f"more-{per_call}-{added[0] + n}" for n in range(per_call)]
                    at = added[0] % 10_000
                    if per_call == 1:
                        client.add(ids[0], vectors={"vectors": vectors[at]})
                    else:
                        client.add_vectors(ids, vectors[at : at + per_call], model="vectors")
                    added[0] += per_call

        adder = threading.Thread(target=add)
        adder.start()
        during_adds = call_again(
            server.address, "FindSimilar", requests, callers=8, seconds=seconds
        )
        stop.set()
        adder.join()
        row(
            f"searches/s kept while items are added, {per_call} per call, 8 callers",
            f"{len(during_adds) / seconds:,.0f}/s of {len(alone) / seconds:,.0f}/s; "
            f"{added[0] / seconds:,.0f} items/s added",
            f"{len(during_adds) / len(alone):.2f}",
            "0.9",
        )


MEASUREMENTS = ("batch", "single", "kept")


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; {options.rows:,} x {DIM}, HNSW32\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, queries = Path(name), clustered(2000, seed=3)
        with serving(folder, "faiss") as server:
            load(server, clustered(options.rows))
            if "batch" in options.only:
                measure_batch(folder, server, queries, options.seconds)
            if "kept" in options.only:
                measure_kept(server, queries, options.seconds)
        if "single" in options.only:
            for transport in (Transport.GRPCIO, Transport.NGHTTP2):
                with serving(folder, "faiss", transport=transport.value) as server:
                    index_all(server)
                    measure_single(folder, server, transport.value, queries, options.seconds)


if __name__ == "__main__":
    main()
