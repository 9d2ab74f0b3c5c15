"""What a search costs in the server besides the transport and the engine, in one thread.

    python benchmarks/handlers.py [--rows 100000] [--calls 2000] [--profile]

From the bytes of a request to the bytes of its reply, without gRPC; the engine is called by itself
in the same way. Of all calls, the time counts that a tenth of them stay below: other programs can
only add to it.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from search import TOP_K, single_requests
from served_vectors import Floats, clustered, load, serving

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.app import Server
from euclidesdb_server.config.server import load_config
from euclidesdb_server.engines.faiss_index import read_without_rows, refer_to_rows
from euclidesdb_server.engines.vectors import load_vectors
from euclidesdb_server.rpc.answers import first_step, parsed
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Method, methods_of
from euclidesdb_server.rpc.v1 import FeatureDatabaseService

LIMITS = {"by vector": 70, "by id": 90}
"""Microseconds besides the engine."""
ROUNDS = 7


def answer(method: Method, data: bytes) -> bytes:
    """The reply to a request, as on the event loop."""
    call = RpcCall(10.0)
    request = parsed(method, data)
    if not method.is_quick(request):
        raise SystemExit("this search is not answered on the event loop")
    reply = first_step(method, request, call)
    call.end()
    if not isinstance(reply, bytes):
        raise SystemExit("this search waits")
    return reply


def microseconds(work: Callable[[int], object], calls: int) -> float:
    """What a call takes that nothing interrupts; `work` is called with 0, 1, 2, ..."""
    took = []
    for _ in range(ROUNDS):
        for number in range(calls):
            started = time.perf_counter_ns()
            work(number)
            took.append(time.perf_counter_ns() - started)
    return sorted(took)[len(took) // 10] / 1000


def id_requests(rows: int, count: int) -> list[bytes]:
    """Searches for what is similar to stored items."""
    chosen = np.random.default_rng(3).integers(0, rows, count)
    return [
        pb.FindSimilarRequest(
            query=pb.Query(id=f"item-{row}"), models=["vectors"], top_k=TOP_K
        ).SerializeToString()
        for row in chosen
    ]


def measure(method: Method, kinds: dict[str, list[bytes]], engine: float, calls: int) -> None:
    """Print a line for each kind of search."""
    print(f"{'search':<10}{'call':>8}{'engine':>8}{'besides':>9}{'limit':>7}   us of one core")
    for kind, requests in kinds.items():

        def call(number: int, requests: Sequence[bytes] = requests) -> None:
            answer(method, requests[number % len(requests)])

        took = microseconds(call, calls)
        limit = LIMITS[kind]
        print(f"{kind:<10}{took:>8.0f}{engine:>8.0f}{took - engine:>9.0f}{limit:>7}")


def profile(method: Method, requests: Sequence[bytes]) -> None:
    """Print where the time goes."""
    profiler = cProfile.Profile()
    profiler.enable()
    for request in requests:
        answer(method, request)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def engine_time(data: Path, queries: Floats, calls: int) -> float:
    """Of the index alone, with as many results, in microseconds."""
    (file,) = data.glob("segments/*/*/index.faiss")
    index, vectors = read_without_rows(file), load_vectors(file.parent)
    refer_to_rows(index, vectors)
    return microseconds(lambda at: index.search(queries[at : at + 1], TOP_K), calls)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, "faiss") as process:
            load(process, clustered(chosen.rows))
        config = load_config(folder / "euclidesdb.conf", ["faiss"])
        any_port = replace(config.server, address="127.0.0.1:0")
        with Server(replace(config, server=any_port), threading.Event()) as server:
            service = FeatureDatabaseService(
                server.database,
                server.queries,
                None,  # type: ignore[arg-type]  # no call is about models
                jobs=server.jobs,
                backups=None,
                stats=None,  # type: ignore[arg-type]  # nor for numbers
                may_change_models=False,
            )
            descriptor = pb.DESCRIPTOR.services_by_name["FeatureDatabase"]
            methods = {each.path: each for each in methods_of(descriptor, service)}
            method = methods["/euclidesdb.v1.FeatureDatabase/FindSimilar"]
            queries = clustered(chosen.calls, seed=2)
            kinds = {
                "by vector": single_requests(queries),
                "by id": id_requests(chosen.rows, chosen.calls),
            }
            measure(
                method, kinds, engine_time(folder / "data", queries, chosen.calls), chosen.calls
            )
            if chosen.profile:
                for requests in kinds.values():
                    profile(method, requests)


if __name__ == "__main__":
    main()
