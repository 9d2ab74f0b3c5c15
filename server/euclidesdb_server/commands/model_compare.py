"""`euclidesdb model compare A B --items DIR`: whether two programs give the same vectors.

Where they do, B can take A's place with no re-embedding: its model.conf names A's version.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from euclidesdb_server.commands.programs import item_bytes, load_folder, program_folder
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.program import Program

BATCH = 32


def run(options: argparse.Namespace) -> int:
    """Compare; returns 0 where every vector is the same within tolerance, else 1."""
    try:
        folders = [program_folder(path) for path in (options.first, options.second)]
        for key in ("input", "feature_dim", "prediction_dim"):
            told = [getattr(folder.conf, key) for folder in folders]
            if told[0] != told[1]:
                raise ModelLoadError(f"they differ in {key}: {told[0]} and {told[1]}")
        threads = len(os.sched_getaffinity(0))
        first, second = (load_folder(folder, device=None, threads=threads) for folder in folders)
        items = item_bytes(options.items, folders[0].conf.input)
        worst, at, count = 0.0, "", 0
        for name, left, right in _pairs(first, second, items):
            difference = float(np.abs(left - right).max() / max(np.abs(left).max(), 1e-12))
            count += 1
            if difference >= worst:
                worst, at = difference, name
        if not count:
            raise ModelLoadError(f"there are no items in {options.items}")
    except (ModelLoadError, OSError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    print(f"{count:,} items; the greatest difference is {worst:.2g} of the vector's largest value,")
    print(f"at {at}")
    if worst > options.tolerance:
        print(f"different: more than --tolerance {options.tolerance:g}")
        return 1
    print(f"the same within --tolerance {options.tolerance:g}: to go on with the vectors of")
    print(f"{options.first}, set in {options.second / 'model.conf'}, [model]")
    print(f"fingerprint = {folders[0].fingerprint}")
    return 0


def _pairs(
    first: Program, second: Program, items: Iterator[tuple[str, bytes]]
) -> Iterator[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The features that both make of each item. Raises ModelLoadError where one makes none."""
    while batch := [*itertools.islice(items, BATCH)]:
        made = [
            _features(program, [data for _, data in batch], [name for name, _ in batch])
            for program in (first, second)
        ]
        yield from zip([name for name, _ in batch], *made, strict=True)


def _features(
    program: Program, items: list[bytes], names: list[str]
) -> list[npt.NDArray[np.float32]]:
    try:
        decoded = [program.inputs.decode(data) for data in items]
    except Undecodable as error:
        raise ModelLoadError(f"an item of {names[0]} to {names[-1]}: {error}") from error
    result = program.run(decoded)
    for name, failure in zip(names, result.errors, strict=True):
        if failure is not None:
            raise ModelLoadError(f"{program.name!r} fails on {name}: {failure}")
    return [*result.features.numpy()]
