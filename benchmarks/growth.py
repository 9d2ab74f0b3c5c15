"""A space that grows over gRPC: what searches, builds, memory and a start cost meanwhile.

    python benchmarks/growth.py [--rows 1000000] [--rate 2000] [--engine exact hnsw]

One caller adds rows in small calls, and one searches all the time. Then the space becomes one
segment, the server is started again, and the single segment is searched: alone, and while the same
stream of rows goes into another space, for up to a minute. The first comparison is what a user
sees; the second leaves out the processor time that adds and builds take from any search.

With `--rate 0` rows are added as fast as one caller can. `--rows 10000000` takes many hours, 40 GB
in the folder for temporary files (TMPDIR), and 8 GB of memory for the last build of HNSW32.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from search import TOP_K, single_requests
from served_vectors import (
    DIM,
    SERVICE,
    SPACE,
    Floats,
    array,
    clustered,
    clustered_blocks,
    index_all,
    index_info,
    row,
    serving,
)
from server_observer import GRAPH, VECTORS, Memory, Sample, ServerObserver, segment_of

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.demo.server_process import ServerProcess

ENGINES = {"exact": "exact", "hnsw": "faiss"}
OTHER_SPACE = "others"
BLOCK_ROWS = 10_000
CHECK_SECONDS = 0.25
"""Least time between two searches for a row that was just added."""
CHECK_SHARE = 0.1
"""Of the time of the load, at most, for these searches."""
QUIET_SECONDS = 1.5
"""A server that has built nothing for so long has nothing left to build."""
MAX_COMPARISON_SECONDS = 60.0
MIB = float(1 << 20)

BASE_MEMORY = """
import euclidesdb_server.builder.build, euclidesdb_server.engines.faiss
print(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])
"""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream of adds did. Times are of `time.monotonic()`.

    missed: how many of `checks` searches for a row that was just added did not find it. segments,
    unindexed_rows: of the space during the last tenth, on average.
    """

    rows: int
    started: float
    last_tenth: float
    stopped: float
    checks: int
    missed: int
    segments: float
    unindexed_rows: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.stopped - self.started


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of searches, in seconds."""

    count: int
    median: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.median * 1e3:.2f} ms, p99 {self.p99 * 1e3:.2f} ms"

    def compared_with(self, other: Latencies) -> str:
        """The ratios of both figures."""
        return f"p50 {self.median / other.median:.2f}, p99 {self.p99 / other.p99:.2f}"


class Searcher:
    """A thread that searches SPACE without a pause until it is closed."""

    def __init__(self, address: str, requests: list[bytes]) -> None:
        self._address = address
        self._requests = itertools.cycle(requests)
        self._searches: list[tuple[float, float]] = []
        self._failure: grpc.RpcError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="searcher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start: float, stop: float) -> Latencies:
        """The searches that began in an interval of `time.monotonic()` and have ended."""
        if self._failure is not None:
            raise SystemExit(f"a search failed: {self._failure}")
        took = [took for began, took in self._searches if start <= began <= stop]
        if not took:
            raise SystemExit("no search ended in time: add more rows, or measure for longer")
        return Latencies(len(took), float(np.median(took)), float(np.percentile(took, 99)))

    def _run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            call: Any = channel.unary_unary(SERVICE + "FindSimilar")
            try:
                while not self._stop.is_set():
                    began = time.monotonic()
                    call(next(self._requests))
                    self._searches.append((began, time.monotonic() - began))
            except grpc.RpcError as error:
                self._failure = error


class Stream:
    """Adds rows in small calls, and now and then searches at once for the last row of a call."""

    def __init__(self, address: str, options: argparse.Namespace) -> None:
        self._address = address
        self._options = options

    def run(self, space: str, rows: int, seconds: float = math.inf) -> Streamed:
        """Add so many rows to `space`, or as many as the time allows."""
        rate, per_call = self._options.rate, self._options.per_call
        added = checks = missed = 0
        states: list[tuple[float, float]] = []
        started = time.monotonic()
        last_tenth, next_check = started, started + CHECK_SECONDS
        with grpc.insecure_channel(self._address) as channel:
            add: Any = channel.unary_unary(SERVICE + "AddVectors")
            find: Any = channel.unary_unary(SERVICE + "FindSimilar")
            list_models: Any = channel.unary_unary(SERVICE + "ListModels")
            for vectors in _batches(rows, self._options.dim, per_call):
                if rate:
                    time.sleep(max(0.0, started + added / rate - time.monotonic()))
                ids = [f"{space}-{added + n}" for n in range(len(vectors))]
                _add(add, space, ids, vectors)
                added += len(vectors)
                now = time.monotonic()
                if added <= 0.9 * rows:
                    last_tenth = now
                if now >= next_check:
                    checks += 1
                    missed += not _finds(find, space, ids[-1], vectors[-1])
                    if last_tenth < now:
                        states.append(_state(list_models, space))
                    took = time.monotonic() - now
                    next_check = now + max(CHECK_SECONDS, took / CHECK_SHARE)
                if now - started >= seconds:
                    break
        segments, unindexed = np.mean(states or [(math.nan, math.nan)], axis=0).tolist()
        stopped = time.monotonic()
        return Streamed(added, started, last_tenth, stopped, checks, missed, segments, unindexed)


def _batches(rows: int, dim: int, size: int) -> Iterator[Floats]:
    """Vectors, `size` at a time; few of them are in memory at once."""
    for block in clustered_blocks(rows, dim=dim, size=max(1, BLOCK_ROWS // size) * size):
        for start in range(0, len(block), size):
            yield block[start : start + size]


def _add(call: Any, space: str, ids: list[str], vectors: Floats) -> None:
    request = pb.AddVectorsRequest(model=space, ids=ids, vectors=array(vectors))
    reply = pb.AddVectorsReply.FromString(call(request.SerializeToString()))
    if reply.refused:
        raise SystemExit(f"refused: {reply.refused[0]}")


def _finds(call: Any, space: str, item: str, vector: Floats) -> bool:
    """Whether a search for a vector finds its item first, at distance 0."""
    query = pb.Query(vector=pb.Vector(values=array(vector)))
    request = pb.FindSimilarRequest(query=query, models=[space], top_k=TOP_K)
    reply = pb.FindSimilarReply.FromString(call(request.SerializeToString()))
    first = reply.answers[0].neighbors[0]
    return first.id == item and first.distance == 0.0


def _state(call: Any, space: str) -> tuple[float, float]:
    """The number of segments of a space, and of rows without an index."""
    reply = pb.ListModelsReply.FromString(call(pb.ListModelsRequest().SerializeToString()))
    (index,) = (model.index for model in reply.models if model.name == space)
    return index.segments, index.unindexed_rows


class Growth:
    """Measures one engine, with its data in `folder`."""

    def __init__(self, folder: Path, engine: str, options: argparse.Namespace) -> None:
        self._folder = folder
        self._engine = engine
        self._options = options
        self._segments = folder / "data" / "segments"
        self._requests = single_requests(clustered(2000, seed=3, dim=options.dim))

    def measure(self) -> None:
        """Print the rows of the table."""
        with self._serving() as server, self._observing(server) as loading:
            with self._searching(server) as searcher:
                streamed = Stream(server.address, self._options).run(SPACE, self._options.rows)
                whole = searcher.between(streamed.started, streamed.stopped)
                growing = searcher.between(streamed.last_tenth, streamed.stopped)
            wait_until_built(server)
        self._report_load(streamed, whole, peak(loading.samples))
        merging = self._merge()
        self._report_written(loading.file_sizes | merging.file_sizes)
        self._report_build_process(merging)
        started = time.monotonic()
        with self._serving() as server:
            self._measure_start(server, started)
            self._measure_single_segment(server, streamed, growing)
        self._show_errors()

    def _merge(self) -> ServerObserver:
        """Have all segments become one.

        The server is started for it, because after the load it would reuse memory that it has freed
        but that the system still counts as its own.
        """
        with self._serving() as server:
            wait_until_built(server)
            with self._observing(server) as observer:
                time.sleep(QUIET_SECONDS)
                started = time.monotonic()
                index_all(server)
                took = time.monotonic() - started
        before = peak(observer.between(0.0, started)).private
        during = peak(observer.between(started, math.inf)).private
        self._row("all segments into one", f"{took:.0f} s")
        self._row(
            "memory that this adds to a server just started, without mapped files",
            f"{before / MIB:,.0f} MiB before, {during / MIB:,.0f} MiB during",
            f"{(during - before) / MIB:,.0f} MiB",
            "64 MiB",
        )
        return observer

    def _measure_start(self, server: ServerProcess, started: float) -> None:
        with grpc.insecure_channel(server.address) as channel:
            call: Any = channel.unary_unary(SERVICE + "FindSimilar")
            reply = pb.FindSimilarReply.FromString(call(self._requests[0]))
        took = time.monotonic() - started
        if len(reply.answers[0].neighbors) != min(TOP_K, self._options.rows):
            raise SystemExit(f"wrong result: {reply}")
        with euclidesdb.Client(server.address) as client:
            while (index := index_info(client)) is None or index.verifying:
                time.sleep(0.05)
            verified = time.monotonic() - started
            (items,) = (model.items for model in client.models() if model.name == SPACE)
        if items != self._options.rows:
            raise SystemExit(f"{items:,} of {self._options.rows:,} rows are there after a start")
        self._row("start to the first search answered", f"{took:.1f} s", "", "10 s")
        self._row("start to the end of the verification", f"{verified:.1f} s")

    def _measure_single_segment(
        self, server: ServerProcess, streamed: Streamed, growing: Latencies
    ) -> None:
        seconds = self._options.seconds
        with self._searching(server) as searcher:
            time.sleep(seconds / 5)  # the pages of the segment are mapped one by one
            began = time.monotonic()
            time.sleep(seconds)
            alone = searcher.between(began, time.monotonic())
            other = Stream(server.address, self._options).run(
                OTHER_SPACE, self._options.rows, min(streamed.seconds, MAX_COMPARISON_SECONDS)
            )
            next_to_other = searcher.between(other.started, other.stopped)
        self._row(
            "search during the last tenth of the load, of a single segment's time",
            f"{growing}, {streamed.segments:.1f} segments and {streamed.unindexed_rows:,.0f} "
            f"unindexed rows on average; single segment, alone: {alone}",
            growing.compared_with(alone),
            "1.5",
        )
        self._row(
            "the same, of a single segment's time during the same load of another space",
            f"{growing}; single segment, {other.rows / other.seconds:,.0f} rows/s elsewhere: "
            f"{next_to_other}",
            growing.compared_with(next_to_other),
            "1.5",
        )

    def _report_load(self, streamed: Streamed, searches: Latencies, memory: Memory) -> None:
        rate = self._options.rate
        self._row(
            f"rows added, {self._options.per_call} per call, durable, 1 caller",
            f"{streamed.rows / streamed.seconds:,.0f} rows/s for {streamed.seconds:.0f} s",
            "",
            f"{rate:,} rows/s" if rate else "",
        )
        self._row(
            "searches during the load, 1 caller",
            f"{searches.count / streamed.seconds:,.0f}/s; {searches}",
        )
        self._row(
            "searches for a row just added that did not find it",
            f"{streamed.missed} of {streamed.checks}",
            "",
            "0",
        )
        self._row(
            "memory of the server during the load, largest",
            f"resident {memory.resident / MIB:,.0f} MiB, without mapped files "
            f"{memory.private / MIB:,.0f} MiB",
        )

    def _report_written(self, file_sizes: Mapping[tuple[str, str], int]) -> None:
        (final,) = self._segments.glob("*/*")
        final_size = sum(file.stat().st_size for file in final.iterdir())
        written = sum(file_sizes.values())
        segments = len({segment for segment, _ in file_sizes})
        self._row(
            "bytes written by builds, of the final size",
            f"{written / MIB:,.0f} MiB in {segments} segments; "
            f"final segment {final_size / MIB:,.0f} MiB",
            f"{written / final_size:.2f}",
            "4",
        )

    def _report_build_process(self, observer: ServerObserver) -> None:
        """The build process of the final segment, if its engine has one; `observer` saw it."""
        (final,) = self._segments.glob("*/*")
        segment = segment_of(final)
        build = next((build for build in observer.builds if build.segment == segment), None)
        if build is None:
            return
        vectors = observer.size(segment, VECTORS)
        graph = observer.size(segment, GRAPH)
        used = build.peak.private - base_memory()
        self._row(
            "memory of the last build process, without mapped files, libraries and graph, of the "
            "vectors",
            f"{used / MIB:,.0f} MiB with the graph, {graph / MIB:,.0f} MiB; vectors "
            f"{vectors / MIB:,.0f} MiB; resident in all {build.peak.resident / MIB:,.0f} MiB",
            f"{(used - graph) / vectors:.2f}",
            "1.3",
        )

    def _show_errors(self) -> None:
        """Print the first lines in which the server reports that something went wrong."""
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        wrong = [line for line in lines if " ERROR " in line or " WARNING " in line]
        for line in wrong[:5]:
            print(f"the server's log: {line}", file=sys.stderr)

    def _row(self, what: str, measured: str, ratio: str = "", target: str = "") -> None:
        row(f"{self._engine}: {what}", measured, ratio, target)

    def _serving(self) -> AbstractContextManager[ServerProcess]:
        models = (SPACE, OTHER_SPACE)
        engine, dim = ENGINES[self._engine], self._options.dim
        return serving(self._folder, engine, dim=dim, models=models)

    def _searching(self, server: ServerProcess) -> Searcher:
        return Searcher(server.address, self._requests)

    def _observing(self, server: ServerProcess) -> ServerObserver:
        return ServerObserver(server.pid, self._segments)


def wait_until_built(server: ServerProcess) -> None:
    """Wait until the server has built nothing for QUIET_SECONDS."""
    with euclidesdb.Client(server.address) as client:
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            index = index_info(client)
            if index is None or index.building:
                quiet_since = time.monotonic()
            time.sleep(0.05)


def peak(samples: list[Sample]) -> Memory:
    """The largest memory of some samples."""
    return functools.reduce(Memory.largest, (sample.memory for sample in samples), Memory())


def base_memory() -> int:
    """Bytes that a build process takes for its libraries, without mapped files."""
    output = subprocess.run(
        [sys.executable, "-c", BASE_MEMORY], check=True, capture_output=True, text=True
    ).stdout
    return int(output) << 10


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rate", type=int, default=2000, help="rows/s; 0: as fast as possible")
    parser.add_argument("--per-call", type=int, default=100, help="rows per call")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the search of one segment")
    options = parser.parse_args()
    rate = f"{options.rate:,} rows/s" if options.rate else "as fast as possible"
    print(f"{os.cpu_count()} cores; {options.rows:,} x {options.dim}, {rate}\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    for engine in options.engine:
        with tempfile.TemporaryDirectory() as name:
            Growth(Path(name), engine, options).measure()


if __name__ == "__main__":
    main()
