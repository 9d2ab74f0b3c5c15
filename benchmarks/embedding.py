"""Adds and searches over gRPC, beside what the same model does by itself in the same run.

    python benchmarks/embedding.py [--seconds 5] [--models digits resnet18]

For `digits` (8 x 8 PNG) and a random-weight ResNet-18 (224 x 224 JPEG): images/s of the raw
TorchScript program at batch 1 and 32, nothing else running; then, with a real server in a
process of its own, adds/s from 1, 8 and 32 callers (durable, searchable when acknowledged) and
the latency of searches by image from 1 and 8. Read the ratios: absolute times say more of the
machine, and of what else it did, than of us.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import euclidesdb
from euclidesdb_server.demo.digits import split_digits
from euclidesdb_server.demo.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent

RAW = """
import sys, time, torch
program, seconds = sys.argv[1], float(sys.argv[3])
threads, batch = int(sys.argv[2]), int(sys.argv[4])
shape = [int(length) for length in sys.argv[5:]]
torch.set_num_threads(threads)
module = torch.jit.load(program).eval()
images = torch.rand(batch, *shape)
with torch.inference_mode():
    for _ in range(5):
        module(images)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        module(images)
        done += batch
    print(done / (time.perf_counter() - started))
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure. images: encoded; shape: of one of them as the program sees it."""

    name: str
    folder: Path
    program: str
    shape: tuple[int, ...]
    images: Sequence[bytes]


def digits(models: Path) -> Subject:
    """The shipped model, on all of scikit-learn's digits."""
    folder = models / "digits"
    shutil.copytree(ROOT / "models" / "digits", folder)
    split = split_digits()
    images = [digit.png for digit in (*split.added, *split.held_out)]
    return Subject("digits", folder, "digits.pt", (1, 8, 8), images)


def resnet18(models: Path) -> Subject:
    """ResNet-18 with random weights, on smooth random pictures of a photo's compressed size."""
    folder = models / "resnet18"
    export = [sys.executable, str(ROOT / "models/resnet18/export.py"), str(folder), "--random"]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    conf = folder / "model.conf"
    # 224 x 224 pictures as they are: no work in the worker that the raw figure has not
    conf.write_text(conf.read_text().replace("resize = 256", "resize = 224"))
    generator = np.random.default_rng(0)
    images = []
    for _ in range(200):
        coarse = generator.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=85)
        images.append(stream.getvalue())
    return Subject("resnet18", folder, "resnet18.pt", (3, 224, 224), images)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"digits": digits, "resnet18": resnet18}


def raw_rate(subject: Subject, *, batch: int, threads: int, seconds: float) -> float:
    """Images/s of the program alone, in a process of its own."""
    arguments = [subject.folder / subject.program, threads, seconds, batch, *subject.shape]
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RAW, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(output)


def in_parallel(work: Callable[[int], object], *, callers: int, seconds: float) -> list[float]:
    """Call `work` with 0, 1, 2, ... from several threads; the seconds that each call took."""
    numbers = itertools.count()
    took: list[float] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        while (started := time.perf_counter()) < end:
            work(next(numbers))
            took.append(time.perf_counter() - started)

    threads = [threading.Thread(target=call, name=f"caller-{n}") for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


@contextmanager
def serving(models: Path) -> Iterator[euclidesdb.Client]:
    """A server of `models` with an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder, "data"), Path(folder, "log")
        with ServerProcess(data=data, log=log, models=models) as server:
            server.start()
            with euclidesdb.Client(server.address) as client:
                yield client
            server.stop()


def measure(subject: Subject, *, threads: int, seconds: float) -> None:
    """Print the rows of one model."""
    best = 0.0
    for batch in (1, 32):
        rate = raw_rate(subject, batch=batch, threads=threads, seconds=seconds)
        best = max(best, rate)
        print(f"| {subject.name} | raw TorchScript, batch {batch} | {rate:,.0f} images/s | |")
    with serving(subject.folder.parent) as client:
        images = subject.images

        def add(number: int) -> None:
            image = images[number % len(images)]
            client.add(f"{number}", image=image, models=[subject.name])

        def search(number: int) -> None:
            client.find_similar(image=images[number % len(images)], model=subject.name, top_k=10)

        in_parallel(add, callers=8, seconds=1)
        for callers in (1, 8, 32):
            rate = len(in_parallel(add, callers=callers, seconds=seconds)) / seconds
            row = f"add, {callers} caller{'s' if callers > 1 else ''}"
            print(f"| {subject.name} | {row} | {rate:,.0f} items/s | {rate / best:.2f} |")
        for callers in (1, 8):
            took = in_parallel(search, callers=callers, seconds=seconds)
            p50, p99 = np.percentile(took, (50, 99)) * 1000
            row = f"search by image, {callers} caller{'s' if callers > 1 else ''}"
            figures = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {len(took) / seconds:,.0f}/s"
            print(f"| {subject.name} | {row} | {figures} | {len(took) / seconds / best:.2f} |")


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=[*SUBJECTS])
    options = parser.parse_args()
    threads = os.cpu_count() or 1
    print(f"{threads} cores, {threads} threads for the model, raw and served\n")
    print("| model | what | measured | share of the best raw rate |\n|---|---|---|---|")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            measure(SUBJECTS[name](Path(folder)), threads=threads, seconds=options.seconds)


if __name__ == "__main__":
    main()
