"""`euclidesdb model check FOLDER`: check that a model can be served, and measure its speed."""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path
from typing import Final

from euclidesdb_server.commands.printing import print_json
from euclidesdb_server.commands.programs import load_folder, program_folder
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.program import Program

SECONDS: Final = 1.0
"""The least duration of each measurement; a forward pass may take longer."""


def run(*, folder: Path, device: str | None, threads: int, as_json: bool = False) -> int:
    """Load the folder as a worker does and describe it; return 1 if it is refused.

    device: None: that in model.conf. threads: 0: those in model.conf, or all cores.
    """
    try:
        model = program_folder(folder)
        threads = threads or model.conf.threads or len(os.sched_getaffinity(0))
        program = load_folder(model, device=device, threads=threads)
    except ModelLoadError as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    conf = model.conf
    if as_json:
        print_json(
            {
                "model": conf.name,
                "input": conf.input,
                "feature_dim": conf.feature_dim,
                "prediction_dim": conf.prediction_dim,
                "fingerprint": model.fingerprint,
                "device": str(program.device),
                "threads": threads,
                "precision": conf.precision,
                "warning": program.warning or None,
                "items_per_second": {
                    str(size): _items_per_second(program, size)
                    for size in _batch_sizes(conf.max_batch_size)
                },
            }
        )
        return 0
    print(f"model           {conf.name}")
    print(f"input           {conf.input}")
    print(f"feature_dim     {conf.feature_dim}")
    print(f"prediction_dim  {conf.prediction_dim}")
    print(f"fingerprint     {model.fingerprint}")
    print(f"runs on         {program.device}, {threads} threads, {conf.precision}")
    if program.warning:
        print(f"warning         {program.warning}")
    print("The load check passed. Inference alone, on sample inputs:")
    for size in _batch_sizes(conf.max_batch_size):
        print(f"  batches of {size:5}  {_items_per_second(program, size):10,.1f} items/s")
    return 0


def _batch_sizes(largest: int) -> list[int]:
    doubled = itertools.takewhile(lambda size: size < largest, (2**power for power in range(30)))
    return [*doubled, largest]


def _items_per_second(program: Program, size: int) -> float:
    items = [*itertools.islice(itertools.cycle(program.sample()), size)]
    program.forward(items)
    done, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < SECONDS:
        program.forward(items)
        done += size
    return done / took
