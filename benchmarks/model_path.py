"""What the path from an image to its features costs besides decoding and the forward pass.

    python benchmarks/model_path.py [--seconds 3] [--busy] [--profile]

A model with a real worker process runs in this process, without transport and storage. Printed are
the latency of a lone caller, and the processor time an item of the server's side and of the worker
for 1 and 8 callers. Decoding and the forward pass alone are measured in another process, with the
same program and batches of the same size, and subtracted. `--busy`: two other processes keep the
cores busy meanwhile.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import io
import json
import os
import pstats
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from euclidesdb_server.inference.embedding_cache import EmbeddingCache
from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.system.child_process import environment
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

LATENCY_LIMIT = 350
"""Microseconds of a lone caller."""
ITEM_LIMIT = 150
"""Microseconds of processor time an item, of the server's side and of the worker each."""
THREADS = os.cpu_count() or 1
IMAGES = 512
CACHE_BYTES = 64 << 20

CONF = """[model]
name = tiny
filename = tiny.pt
prediction_dim = 10
feature_dim = 64
image_size = 32
"""

RAW = """
import json, sys, time
from pathlib import Path
import torch
from euclidesdb_server.commands.programs import load_folder, program_folder
folder, items, batch, seconds = sys.argv[1:]
program = load_folder(program_folder(Path(folder)), device="cpu", threads=1)
payloads = [file.read_bytes() for file in sorted(Path(items).iterdir())]
batch = int(batch)

decode, device = program.inputs.decode, program.device
took, cpu, number, end = [], 0.0, 0, time.perf_counter() + float(seconds)
with torch.inference_mode():
    while time.perf_counter() < end:
        part = [payloads[(number + at) % len(payloads)] for at in range(batch)]
        started, cpu_started = time.perf_counter(), time.process_time()
        decoded = [decode(data) for data in part]
        decoding, cpu = time.perf_counter() - started, cpu + time.process_time() - cpu_started
        arguments = program.inputs.collate(decoded, device)
        started, cpu_started = time.perf_counter(), time.process_time()
        program.module(*arguments)
        took.append((decoding + time.perf_counter() - started) / batch)
        cpu += time.process_time() - cpu_started
        number += batch
print(json.dumps([sorted(took)[len(took) // 2], cpu / number]))
"""


class Tiny(torch.nn.Module):
    """Two small convolutions: a forward pass of some tens of microseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
        )  # fmt: skip
        self.head = torch.nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(predictions, features)."""
        features = self.layers(images)
        return self.head(features), features


def save_model(folder: Path) -> None:
    """A folder of the tiny model."""
    folder.mkdir()
    torch.manual_seed(0)
    torch.jit.script(Tiny().eval()).save(str(folder / "tiny.pt"))  # type: ignore[no-untyped-call]
    (folder / "model.conf").write_text(CONF)


def images(count: int = IMAGES) -> list[bytes]:
    """JPEG images of 32 x 32."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC).save(stream, "JPEG")
        made.append(stream.getvalue())
    return made


@dataclass(frozen=True, slots=True)
class Alone:
    """Seconds an item of decoding and the forward pass, without anything else."""

    latency: float
    processor: float


def alone(folder: Path, items: Path, batch: int, seconds: float) -> Alone:
    """As a worker loads the program, on one thread, in batches of that size."""
    arguments = [folder, items, batch, seconds]
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RAW, *map(str, arguments)],
        check=True, capture_output=True, text=True, env=environment(1),
    ).stdout  # fmt: skip
    return Alone(*json.loads(output))


def processor_time(pid: int) -> float:
    """Seconds of all threads of a process, to the nanosecond (those in its stat are to 10 ms)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Served:
    """A model in this process, and its cache of embeddings."""

    def __init__(self, folder: Path, threads: int) -> None:
        read = read_model_folder(folder)
        if not isinstance(read, ModelFolder):
            raise TypeError(folder)
        self.pids: list[int] = []

        def start(give_up: object, device: str) -> WorkerProcess:
            worker = WorkerProcess(
                read, give_up, device,  # type: ignore[arg-type]
                threads=threads, max_image_pixels=10_000_000, start_timeout=120,
            )  # fmt: skip
            self.pids.append(worker._process.pid)
            return worker

        self.model = ServedModel(read, start)
        if not self.model.wait_until_started(120):
            raise SystemExit("the model does not start")
        self._cache = EmbeddingCache(CACHE_BYTES)

    def embed(self, data: bytes) -> Future[Embedding]:
        """As the database does."""
        payload = Payload("image", data)
        key = ("tiny", payload.digest)
        return self._cache.embed(key, self.model, functools.partial(self.model.embed, payload))


def run(served: Served, items: Iterator[bytes], callers: int, seconds: float) -> list[float]:
    """Seconds that each item took; each of the callers sends its next one when it has the last."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    if callers == 1:
        while (started := time.perf_counter()) < end:
            served.embed(next(items)).result()
            took.append(time.perf_counter() - started)
        return took
    done: queue.SimpleQueue[float] = queue.SimpleQueue()

    def begin() -> None:
        started = time.perf_counter()
        served.embed(next(items)).add_done_callback(lambda _: done.put(started))

    for _ in range(callers):
        begin()
    for _ in iter(lambda: time.perf_counter() < end, False):
        took.append(time.perf_counter() - done.get())
        begin()
    for _ in range(callers):
        done.get()
    return took


def distinct(items: list[bytes]) -> Iterator[bytes]:
    """The images, each time with other bytes at the end, which decoders ignore."""
    number = 0
    while True:
        yield items[number % len(items)] + b"\0" + str(number).encode()
        number += 1


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that never wait."""
    spin = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(spin) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(served: Served, folder: Path, saved: Path, callers: int, seconds: float) -> None:
    """Print a line."""
    items = distinct([file.read_bytes() for file in sorted(saved.iterdir())])
    run(served, items, callers, 0.5)
    (worker,) = served.pids
    before, counts = (time.process_time(), processor_time(worker)), served.model.run_counts
    took = run(served, items, callers, seconds)
    after = (time.process_time(), processor_time(worker))
    items_run, batches = np.subtract(served.model.run_counts, counts).tolist()
    batch = items_run / batches
    server_time, worker_time = (np.subtract(after, before) / items_run * 1e6).tolist()
    raw = alone(folder, saved, max(1, round(batch)), min(1.0, seconds))
    latency = float(np.median(took)) * 1e6
    p99 = float(np.quantile(took, 0.99)) * 1e6
    print(
        f"{callers:>7}{len(took) / seconds:>9.0f}{batch:>7.1f}{latency:>9.0f}{p99:>9.0f}"
        f"{latency - raw.latency * 1e6:>9.0f}{server_time:>8.0f}{worker_time:>8.0f}"
        f"{raw.processor * 1e6:>7.0f}{worker_time - raw.processor * 1e6:>9.0f}",
        flush=True,
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--threads", type=int, default=THREADS, help="of a forward pass")
    parser.add_argument("--busy", action="store_true", help="with two other busy processes")
    parser.add_argument("--profile", action="store_true", help="of the thread of the callers")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, saved = Path(name, "tiny"), Path(name, "items")
        save_model(folder)
        saved.mkdir()
        for number, data in enumerate(images()):
            Path(saved, f"{number:06}").write_bytes(data)
        served = Served(folder, chosen.threads)
        print(
            f"microseconds; limits besides decoding and forward pass: latency of a lone caller "
            f"{LATENCY_LIMIT}, processor time {ITEM_LIMIT} an item in server and worker each\n"
            f"{'callers':>7}{'items/s':>9}{'batch':>7}{'p50':>9}{'p99':>9}{'besides':>9}"
            f"{'server':>8}{'worker':>8}{'alone':>7}{'besides':>9}"
        )
        try:
            with busy(2 if chosen.busy else 0):
                for callers in (1, 8):
                    measure(served, folder, saved, callers, chosen.seconds)
            if chosen.profile:
                profiler = cProfile.Profile()
                items = distinct(images())
                profiler.runcall(run, served, items, 1, chosen.seconds)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
        finally:
            served.model.close()


if __name__ == "__main__":
    main()
