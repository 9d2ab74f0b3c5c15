"""`euclidesdb model compare A B --items DIR`: check whether two programs give the same vectors.

If they do, B can replace A without re-embedding any item: its model.conf names A's version.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.commands.printing import print_json
from euclidesdb_server.commands.programs import item_bytes, load_folder, program_folder
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.program import Program

BATCH_SIZE: Final = 32


def run(*, first: Path, second: Path, items: Path, tolerance: float, as_json: bool = False) -> int:
    """Compare; return 0 if every vector is the same within the tolerance, else 1."""
    try:
        folders = [program_folder(path) for path in (first, second)]
        for key in ("input", "feature_dim", "prediction_dim"):
            left, right = (getattr(folder.conf, key) for folder in folders)
            if left != right:
                raise ModelLoadError(f"the models differ in {key}: {left} and {right}")
        threads = len(os.sched_getaffinity(0))
        programs = [load_folder(folder, device=None, threads=threads) for folder in folders]
        each = item_bytes(items, folders[0].conf.input)
        largest, largest_at, count = 0.0, "", 0
        for name, expected, actual in _pairs(programs, each):
            error = np.abs(expected - actual).max() / max(np.abs(expected).max(), 1e-12)
            count += 1
            if error >= largest:
                largest, largest_at = float(error), name
        if not count:
            raise ModelLoadError(f"there are no items in {items}")
    except (ModelLoadError, OSError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    if as_json:
        same = largest <= tolerance
        fields = {"items": count, "largest_difference": largest, "item": largest_at, "same": same}
        print_json({**fields, "fingerprint": folders[0].fingerprint})
        return 0 if same else 1
    print(f"{count:,} items; the largest difference is {largest:.2g} of the vector's largest value")
    print(f"(item {largest_at})")
    if largest > tolerance:
        print(f"Different: that is more than --tolerance {tolerance:g}")
        return 1
    print(f"The same within --tolerance {tolerance:g}. To keep using the vectors of")
    print(f"{first}, set in {second / 'model.conf'}, [model]")
    print(f"fingerprint = {folders[0].fingerprint}")
    return 0


def _pairs(
    programs: Sequence[Program], items: Iterator[tuple[str, bytes]]
) -> Iterator[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Each item's features from both programs. Raises ModelLoadError if a program fails on it."""
    while batch := [*itertools.islice(items, BATCH_SIZE)]:
        made = [
            _features(program, [data for _, data in batch], [name for name, _ in batch])
            for program in programs
        ]
        yield from zip([name for name, _ in batch], *made, strict=True)


def _features(
    program: Program, items: list[bytes], names: list[str]
) -> list[npt.NDArray[np.float32]]:
    try:
        decoded = [program.inputs.decode(data) for data in items]
    except Undecodable as error:
        raise ModelLoadError(f"an item from {names[0]} to {names[-1]}: {error}") from error
    result = program.run(decoded)
    for name, failure in zip(names, result.errors, strict=True):
        if failure is not None:
            raise ModelLoadError(f"{program.name!r} fails on {name}: {failure}")
    return [*result.features.numpy()]
