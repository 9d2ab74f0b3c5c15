"""Seconds from the start to the first correct result, and resident memory after searches.

    python benchmarks/restart.py [--rows 1000000] [--engines exact faiss]

Memory is compared with that of the raw vectors (`exact`), and with that of a process that only
holds and searches the faiss index.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from search import batch_requests, faiss_alone
from served_vectors import DIM, Floats, call_again, clustered, load, row, serving

import euclidesdb

SEARCH_SECONDS = 5.0


def resident_bytes(pid: int) -> int:
    """The resident memory of a process, including the mapped file pages that it has read."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def measure(folder: Path, engine: str, vectors: Floats) -> None:
    """Measure one engine."""
    queries = clustered(2000, seed=3)
    started = time.perf_counter()
    with serving(folder, engine) as server:
        load(server, vectors)
        row(f"load and index, {engine}", f"{time.perf_counter() - started:.0f} s", "", "")
    started = time.perf_counter()
    with serving(folder, engine) as server:
        at = len(vectors) // 2
        with euclidesdb.Client(server.address) as client:
            found = client.find_similar(vector=vectors[at], model="vectors", top_k=1)
        took = time.perf_counter() - started
        if found["vectors"].ids != (f"item-{at}",):
            raise SystemExit(f"wrong result: {found}")
        row(f"start to the first correct result, {engine}", f"{took:.1f} s", "", "10 s")
        requests = batch_requests(queries, 100)
        call_again(server.address, "FindSimilarBatch", requests, callers=1, seconds=SEARCH_SECONDS)
        resident = resident_bytes(server.pid)
    if engine == "exact":
        limit, what = float(vectors.nbytes), "the vectors"
    else:
        limit = faiss_alone(folder, queries, batch=100, seconds=SEARCH_SECONDS)["rss"]
        what = "a process with only the index"
    row(
        f"resident memory, {engine}",
        f"{resident / 2**20:,.0f} MiB; {what} {limit / 2**20:,.0f} MiB",
        f"{resident / limit:.2f}",
        "1.3",
    )


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", default=["exact", "faiss"])
    options = parser.parse_args()
    print(f"{options.rows:,} x {DIM}, exact / faiss HNSW32\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    vectors = clustered(options.rows)
    for engine in options.engines:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), engine, vectors)


if __name__ == "__main__":
    main()
