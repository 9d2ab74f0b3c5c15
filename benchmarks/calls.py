"""Light calls by each transport, compared with a server of grpcio that only echoes.

    python benchmarks/calls.py [--rows 10000] [--seconds 3] [--transports nghttp2 grpcio]

The same callers, in Python, for all; each round measures the echo again, and ratios are medians of
three rounds. Where h2load is installed (Debian: nghttp2-client), it makes searches without the cost
of a client in Python.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import psutil
from embedding import digit_images, distinct
from search import TOP_K, echoing, single_requests
from served_vectors import SERVICE, call_again, clustered, load, row, serving

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.demo.server_process import ServerProcess
from euclidesdb_server.rpc.framing import prefix_of

ROUNDS: Final = 3
IMAGE_MODEL: Final = "digits"
TARGETS: Final = {
    ("find by vector", 1): "1.0",
    ("find by id", 1): "1.0",
    ("find by vector", 8): "0.9",
    ("find by id", 8): "0.9",
    ("find by image", 1): "0.6",
    ("find by image", 8): "0.5",
    ("add image", 1): "0.45",
    ("add image", 8): "0.45",
}
"""Calls/s, compared with the echo's."""


class Requests(Sequence[bytes]):
    """Requests that are made as they are asked for, in turn, so that each image is sent once."""

    def __init__(self, made: Iterator[bytes]) -> None:
        self._made = made
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return 1 << 60

    def __getitem__(self, _: Any) -> Any:
        with self._lock:
            return next(self._made)


def image_searches(images: Iterator[bytes]) -> Iterator[bytes]:
    """Searches by images, one for each."""
    for image in images:
        query = pb.Query(payload=pb.Payload(image=image))
        request = pb.FindSimilarRequest(query=query, models=[IMAGE_MODEL], top_k=TOP_K)
        yield request.SerializeToString()


def image_adds(images: Iterator[bytes]) -> Iterator[bytes]:
    """Adds of images, one for each, under new ids."""
    for number, image in enumerate(images):
        yield pb.AddItemRequest(
            id=f"image-{number}", payload=pb.Payload(image=image), models=[IMAGE_MODEL]
        ).SerializeToString()


def id_searches(rows: int) -> list[bytes]:
    """Searches for what is similar to a stored item."""
    return [
        pb.FindSimilarRequest(
            query=pb.Query(id=f"item-{number}"), models=["vectors"], top_k=TOP_K
        ).SerializeToString()
        for number in np.random.default_rng(3).integers(0, rows, 2000)
    ]


def measure(name: str, address: str, echo: str, rows: int, seconds: float) -> None:
    """Print a row for each kind of call and number of callers."""
    images = distinct(digit_images(), b"\n")
    vector_searches = single_requests(clustered(2000, seed=3))
    kinds: dict[str, tuple[str, Sequence[bytes]]] = {
        "find by vector": ("FindSimilar", vector_searches),
        "find by id": ("FindSimilar", id_searches(rows)),
        "find by image": ("FindSimilar", Requests(image_searches(images))),
        "add image": ("AddItem", Requests(image_adds(images))),
    }
    for callers, (kind, (method, requests)) in itertools.product((1, 8), kinds.items()):
        ratios, rates, tails = [], [], []
        for _ in range(ROUNDS):
            echoed = call_again(
                echo, "FindSimilar", vector_searches, callers=callers, seconds=seconds
            )
            took = call_again(address, method, requests, callers=callers, seconds=seconds)
            ratios.append(len(took) / len(echoed))
            rates.append(len(took) / seconds)
            p50, p99 = np.quantile(took, [0.5, 0.99])
            tails.append(float(p99 / p50))
        row(
            f"{name}: {kind}, {callers} caller(s), / echo",
            f"{statistics.median(rates):,.0f}/s; p99/p50 {statistics.median(tails):.1f}",
            f"{statistics.median(ratios):.2f}",
            TARGETS[kind, callers],
        )


def measure_native(name: str, server: ServerProcess, request: bytes, seconds: float) -> None:
    """Print what a client in C, with eight connections, gets of one search."""
    program = shutil.which("h2load")
    if program is None:
        print("h2load is not installed")
        return
    process = next(
        each for each in psutil.process_iter(["cmdline"]) if listens(each, server.address)
    )
    whole_seconds = max(1, int(seconds))
    options = ["-c", "8", "-m", "1", "-D", str(whole_seconds)]
    for header in ("content-type: application/grpc", "te: trailers"):
        options += ["-H", header]
    with tempfile.NamedTemporaryFile() as body:
        body.write(prefix_of(request) + request)
        body.flush()
        rates, costs = [], []
        for _ in range(ROUNDS):
            before = process.cpu_times()
            output = subprocess.run(
                [
                    program,
                    *options,
                    "-d",
                    body.name,
                    f"http://{server.address}{SERVICE}FindSimilar",
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            after = process.cpu_times()
            found = re.search(r"(\d+) succeeded", output)
            count = int(found[1]) if found else 0
            rates.append(count / whole_seconds)
            used = after.user + after.system - before.user - before.system
            costs.append(used / max(count, 1) * 1e6)
    row(
        f"{name}: find by vector, native client, 8 connections",
        f"{statistics.median(rates):,.0f}/s, {statistics.median(costs):.0f} us of processor time",
        "",
        "9,000/s",
    )


def listens(process: psutil.Process, address: str) -> bool:
    """Whether this is the server at that address."""
    return address in (process.info["cmdline"] or ()) and "serve" in process.info["cmdline"]


def main() -> None:
    """Measure, and print the results as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--transports", nargs="+", default=["nghttp2", "grpcio"])
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores; {options.rows:,} x 128, HNSW32; images of 8 x 8 by a CNN\n")
    print("| what | measured | ratio | target |\n|---|---|---|---|", flush=True)
    request = single_requests(clustered(1, seed=3))[0]
    shipped = Path(__file__).parent.parent / "models" / IMAGE_MODEL
    for transport in options.transports:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, "models", IMAGE_MODEL)
            shutil.copytree(shipped, model)
            with serving(Path(folder), "faiss", transport=transport) as server:
                load(server, clustered(options.rows))
                with grpc.insecure_channel(server.address) as channel:
                    call: Any = channel.unary_unary(SERVICE + "FindSimilar")
                    reply = call(request)
                with echoing(Path(folder), reply) as echo:
                    measure(transport, server.address, echo, options.rows, options.seconds)
                measure_native(transport, server, request, options.seconds)


if __name__ == "__main__":
    main()
