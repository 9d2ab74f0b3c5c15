"""Tries engines: builds an index of random rows, saves, loads and searches it."""

from __future__ import annotations

import errno
import math
import os
import resource
import signal
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from euclidesdb_server.builder.build import build_segment
from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.engine_reference import referenced, refused
from euclidesdb_server.engines.protocol import Scalable, SearchEngine
from euclidesdb_server.engines.vectors import save_vectors
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.values.arrays import Matrix

ROWS: Final = 512
MORE_ROWS: Final = 4096
"""For an index that cannot be trained on `ROWS`."""

_SEED: Final = 20180901


def try_all(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each trial, `{"refused": reason or null}`, or `{"untried": reason}`.

    job: `{"trials": [{"engine": as `engine_reference`, "dim": n}, ...], "folder": path,
        "processor_seconds": for each trial, "file_mib": for each file}`.
    """
    _limit_file_size(job["file_mib"])
    for number, trial in enumerate(job["trials"]):
        _limit_processor_time(job["processor_seconds"])
        folder = Path(job["folder"]) / str(number)
        try:
            engine = referenced(trial["engine"])
            yield _tried(engine, trial["dim"], folder)
        except OSError as error:  # of the disk, and none of the engine
            yield {"untried": str(error)}


def _tried(engine: SearchEngine, dim: int, folder: Path) -> dict[str, Any]:
    try:
        if not isinstance(engine, Scalable):
            _try(engine, dim, ROWS, folder)
            return {"refused": None}
        try:
            _try(engine.for_trial(), dim, ROWS, folder)
        except ConfigError:
            _try(engine.for_trial(), dim, MORE_ROWS, folder / "again")
    except ConfigError as error:
        return {"refused": str(error)}
    except OSError:
        raise
    except Exception as error:  # an engine may raise anything
        traceback.print_exc()
        if os.strerror(errno.ENOSPC) in str(error):  # as a library says it
            return {"untried": str(error)}
        return {"refused": refused(engine, dim, repr(error))}
    return {"refused": None}


def _try(engine: SearchEngine, dim: int, rows: int, folder: Path) -> None:
    folder.mkdir(parents=True)
    vectors: Matrix = np.random.default_rng(_SEED).standard_normal((rows, dim), np.float32)
    save_vectors(folder, normalized(vectors) if engine.metric.normalizes else vectors)
    build_segment(engine, folder, threads=1)


def _limit_file_size(mebibytes: int) -> None:
    """Have the kernel end this process when it makes a file larger than that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (mebibytes << 20, hard))


def _limit_processor_time(seconds: int) -> None:
    """Have the kernel end this process when it has computed for that long from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
