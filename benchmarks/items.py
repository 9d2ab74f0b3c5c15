"""What one does with many items, over gRPC, each next to its target.

    python benchmarks/items.py [--rows 1000000] [--seconds 2] [--streamed 20000] [--transfers]

Every item has a number, a color, and a vector of 128 dimensions in an HNSW32 index. A search with
a filter is compared with one without, and its results with those of an exact search. An export and
an import are compared with a plain copy of the same bytes, and a stream of adds with as many in
bulk calls. Processor time is that of the server and, apart, of the client.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from served_vectors import SERVICE, SPACE, Floats, array, clustered, index_all, serving

import euclidesdb
from euclidesdb import NewItem
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.demo.server_process import ServerProcess

TOP_K = 10
COLORS = ("red", "green", "blue", "yellow")
SELECTIVITIES = (0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0)
PER_CALL = 20_000
FORMATS = (".arrow", ".parquet", ".npz")


def load(address: str, rows: int) -> None:
    """Add the items, and wait until they are one segment."""
    shares = np.random.default_rng(3).random(rows)
    with euclidesdb.Client(address, timeout=600) as db:
        for start in range(0, rows, PER_CALL):
            count = min(PER_CALL, rows - start)
            attributes = [
                {"share": float(share), "color": COLORS[row % len(COLORS)], "row": row}
                for row, share in enumerate(shares[start : start + count], start)
            ]
            ids = [f"item-{row}" for row in range(start, start + count)]
            vectors = clustered(count, start)
            refused = db.add_vectors(ids, vectors, model=SPACE, attributes=attributes)
            if refused:
                raise SystemExit(f"refused: {refused[0]}")


def below(share: float) -> pb.Filter:
    """A filter that so many items match."""
    comparison = pb.Comparison(
        field=pb.Field(attribute="share"),
        operator=pb.Comparison.OPERATOR_LESS,
        value=pb.Value(float_value=share),
    )
    return pb.Filter(comparison=comparison)


def two_attributes(share: float) -> pb.Filter:
    """A filter on a number and a string."""
    color = pb.Comparison(
        field=pb.Field(attribute="color"),
        operator=pb.Comparison.OPERATOR_EQUAL,
        value=pb.Value(string_value="red"),
    )
    return pb.Filter(all=pb.Filters(filters=[below(share), pb.Filter(comparison=color)]))


def find(query: Floats, share: float | None, *, exact: bool = False) -> pb.FindSimilarRequest:
    """A search. share: of the items that match its filter; None: no filter."""
    request = pb.FindSimilarRequest(
        query=pb.Query(vector=pb.Vector(values=array(query))), models=[SPACE], top_k=TOP_K
    )
    if share is not None:
        request.options.filter.CopyFrom(below(share))
    request.options.exact = exact
    return request


def median_ms(call: Callable[[], object], seconds: float, least: int = 3) -> float:
    """The median of a call's times, in milliseconds."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < least or time.monotonic() < end:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


class Calls:
    """Calls of the v1 API."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __call__(self, name: str, request: Any, reply: Any) -> Any:
        """Make a call."""
        method: Any = self._channel.unary_unary(
            SERVICE + name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        return method(request)


def measure_queries(calls: Calls, seconds: float) -> None:
    """Counts, lists and summaries. Each filter is another one, so none is answered from a cache."""
    shares: Iterator[float] = (0.1 + number * 1e-7 for number in itertools.count())

    def count() -> None:
        request = pb.CountItemsRequest(filter=two_attributes(next(shares)))
        calls("CountItems", request, pb.CountItemsReply)

    def page(**fields: Any) -> None:
        request = pb.ListItemsRequest(page_size=100, **fields)
        calls("ListItems", request, pb.ListItemsReply)

    def summarize() -> None:
        request = pb.SummarizeItemsRequest(
            count_by=[pb.Field(attribute="color")], numbers=[pb.Field(attribute="share")]
        )
        calls("SummarizeItems", request, pb.SummarizeItemsReply)

    order = pb.Order(field=pb.Field(attribute="share"))
    for name, call in {
        "count, all": lambda: calls("CountItems", pb.CountItemsRequest(), pb.CountItemsReply),
        "count, filter on two attributes (limit 50 ms)": count,
        "list, 100 a page": page,
        "list, filter on two attributes": lambda: page(filter=two_attributes(next(shares))),
        "list, ordered by a number": lambda: page(order=order),
        "summarize a string and a number": summarize,
    }.items():
        print(f"{name:50} {median_ms(call, seconds):8.1f} ms")


def measure_searches(calls: Calls, seconds: float) -> None:
    """Searches with filters of several selectivities, their times and their recall."""
    queries = clustered(200, 7)
    numbers = itertools.count()

    def search(share: float | None, *, fresh: bool = False) -> None:
        number = next(numbers)
        if share is not None and fresh:
            share += number * 1e-9
        request = find(queries[number % len(queries)], share)
        calls("FindSimilar", request, pb.FindSimilarReply)

    plain = median_ms(lambda: search(None), seconds)
    print(f"{'search without a filter':50} {plain:8.1f} ms")
    for share in SELECTIVITIES:
        new = median_ms(lambda share=share: search(share, fresh=True), seconds)  # type: ignore[misc]
        known = median_ms(lambda share=share: search(share), seconds)  # type: ignore[misc]
        limit = 1.5 * plain + 50
        print(
            f"{f'search, {share:.2%} of the items match':50} {new:8.1f} ms, the filter again "
            f"{known:6.1f} ms (limit {limit:.1f} ms), recall {recall(calls, queries, share):.3f} "
            "(target 0.99)"
        )
    found = recall(calls, queries, None)
    print(f"{'search without a filter':50} recall {found:.3f}: that of the index")


def recall(calls: Calls, queries: Floats, share: float | None) -> float:
    """The share of the true neighbors that searches find. share: as in `find`."""
    found = wanted = 0
    for query in queries[:50]:
        near = [
            {
                neighbor.id
                for neighbor in calls("FindSimilar", request, pb.FindSimilarReply)
                .answers[0]
                .neighbors
            }
            for request in (find(query, share), find(query, share, exact=True))
        ]
        found += len(near[0] & near[1])
        wanted += len(near[1])
    return found / wanted if wanted else 1.0


class Usage:
    """Seconds that something took: on the clock, and of the processors."""

    wall = server = client = 0.0

    def __str__(self) -> str:
        return f"{self.wall:.1f} s (processor: server {self.server:.1f}, client {self.client:.1f})"


@contextmanager
def used(server: psutil.Process) -> Iterator[Usage]:
    """Measure what is done meanwhile, by the server and by this process."""
    usage = Usage()
    began, own, before = time.perf_counter(), time.process_time(), server.cpu_times()
    yield usage
    usage.wall = time.perf_counter() - began
    usage.client = time.process_time() - own
    after = server.cpu_times()
    usage.server = after.user + after.system - before.user - before.system


def copied(file: Path) -> float:
    """How many seconds a plain copy of a file takes, with a sync."""
    began = time.perf_counter()
    with file.open("rb") as source, file.with_suffix(".copy").open("wb") as target:
        while piece := source.read(1 << 20):
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return time.perf_counter() - began


def measure_transfers(process: ServerProcess, server: psutil.Process, folder: Path) -> None:
    """Exports of all items, and imports of them into other servers."""
    with euclidesdb.Client(process.address, timeout=600) as db:
        for suffix in FORMATS:
            file = folder / f"items{suffix}"
            with used(server) as usage:
                count = db.export_file(file)
            size = file.stat().st_size
            print(
                f"{f'export to {suffix}, {size >> 20:,} MiB':50} {count / usage.wall:8,.0f} items/s"
                f", {usage}; a plain copy takes {copied(file):.1f} s (target)",
                flush=True,
            )
            file.with_suffix(".copy").unlink()
    for suffix in FORMATS:
        other = folder / f"other{suffix}"
        with serving(other, "faiss") as made, euclidesdb.Client(made.address) as db:
            with used(psutil.Process(made.pid)) as usage:
                imported = db.import_file(folder / f"items{suffix}", timeout=600)
            if imported.refused:
                raise SystemExit(f"refused: {imported.refused[0]}")
        rate = imported.items / usage.wall
        print(f"{f'import from {suffix}':50} {rate:8,.0f} items/s, {usage}", flush=True)
        shutil.rmtree(other)


def measure_streams(process: ServerProcess, server: psutil.Process, count: int) -> None:
    """Items with ready-made vectors, in bulk calls and as a stream."""
    vectors = clustered(count, 11)

    def items(name: str) -> Iterator[NewItem]:
        for row in range(count):
            yield NewItem(f"{name}-{row}", vectors={SPACE: vectors[row]}, attributes={"row": row})

    with euclidesdb.Client(process.address, timeout=600) as db:
        with used(server) as bulk:
            db.add_many(items("bulk"))
        with used(server) as stream:
            deque(db.add_stream(items("stream")), maxlen=0)
    print(f"{f'add_many, {count:,} items':50} {count / bulk.wall:8,.0f} items/s, {bulk}")
    print(
        f"{f'add_stream, {count:,} items':50} {count / stream.wall:8,.0f} items/s, {stream}; "
        f"{bulk.wall / stream.wall:.2f} of add_many (target 0.85)"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--streamed", type=int, default=20_000)
    parser.add_argument("--transfers", action="store_true", help="only exports and imports")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), "faiss") as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        started = time.monotonic()
        load(process.address, chosen.rows)
        print(f"{chosen.rows:,} items added in {time.monotonic() - started:.0f} s")
        calls, server = Calls(channel), psutil.Process(process.pid)
        if chosen.transfers:
            measure_transfers(process, server, Path(name))
            return
        measure_queries(calls, chosen.seconds)
        index_all(process)
        measure_searches(calls, chosen.seconds)
        measure_transfers(process, server, Path(name))
        measure_streams(process, server, chosen.streamed)


if __name__ == "__main__":
    main()
