"""How long a caller's search by image takes while a job runs the same model, and without the job.

    python -m benchmarks.job_latency

Rounds with and without the job take turns, so that other load on the machine meets both. The model
computes for about 10 milliseconds on each image, and for twice as long on two.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from tests.support.images import encoded
from tests.support.models import save_model
from tests.support.processes import ServerProcess
from tests.support.waiting import wait_for

import euclidesdb

ITEMS = 8000
ROUNDS = 6
SEARCHES = 60
PAUSES = (0.0, 0.1)
"""Seconds between the searches of a caller."""


class Linear(torch.nn.Module):
    """Features: the mean of each channel. Each image takes as long as every other."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The predictions, of which there are none, and the features."""
        means = images.mean(dim=[2, 3])
        for _ in range(images.shape[0]):
            square = torch.ones([96, 96])
            for _ in range(100):
                square = torch.mm(square, square) * 1e-4
            means = means + square.sum() * 0
        return means[:, :0], means


def image(number: int) -> bytes:
    """A different one for each number: none comes from the cache of embeddings."""
    channels = (number % 256, number // 256 % 256, number // 65536)
    return encoded(Image.new("RGB", (8, 8), channels))


def timed(db: euclidesdb.Client, first: int, pause: float) -> list[float]:
    """Seconds that each of some searches took."""
    taken = []
    for number in range(first, first + SEARCHES):
        query = image(number)
        begun = time.perf_counter()
        db.find_similar(image=query, model="linear", top_k=5)
        taken.append(time.perf_counter() - begun)
        time.sleep(pause)
    return taken


def has_begun(db: euclidesdb.Client, job_id: str) -> bool:
    """Whether a job has made features."""
    return db.job(job_id).done > 0


def measure(db: euclidesdb.Client, pause: float, first: int) -> None:
    """Print the medians with and without a job."""
    alone, shared, made = list[float](), list[float](), 0
    for turn in range(ROUNDS):
        alone += timed(db, first + 2 * turn * SEARCHES, pause)
        job = db.embed("linear", state=["missing"])
        wait_for(functools.partial(has_begun, db, job.id), "the job runs")
        before = db.job(job.id).done
        shared += timed(db, first + (2 * turn + 1) * SEARCHES, pause)
        made += db.cancel_job(job.id).done - before
    one, other = (1e3 * statistics.median(taken) for taken in (alone, shared))
    late, later = (1e3 * statistics.quantiles(taken, n=20)[-1] for taken in (alone, shared))
    print(
        f"pause {pause:g} s: median {one:.1f} ms without a job, {other:.1f} ms with one: "
        f"x {other / one:.2f}; 95th percentile {late:.1f} and {later:.1f} ms; the job made {made} "
        f"items in {sum(shared) + pause * len(shared):.1f} s"
    )


def main() -> None:
    """Measure with a caller that searches all the time, and one that pauses."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder / "models", "linear", module=Linear(), feature_dim=3, prediction_dim=0)
        save_model(folder / "models", "tiny")
        with (
            ServerProcess(
                "--models", folder / "models", "--data", folder / "data",
                "--address", "127.0.0.1:0", log=folder / "log",
            ) as server,
            euclidesdb.Client(server.address(), timeout=300) as db,
        ):  # fmt: skip
            db.add_many(
                euclidesdb.NewItem(f"{number}", image=image(number), models=["tiny"])
                for number in range(ITEMS)
            )
            for turn, pause in enumerate(PAUSES, 1):
                measure(db, pause, turn * 100_000)


if __name__ == "__main__":
    main()
