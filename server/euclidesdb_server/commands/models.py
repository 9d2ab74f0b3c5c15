"""`euclidesdb models`: list the models of a running server; also a health check by a real call."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import euclidesdb

MIB: Final = 1 << 20
GIB: Final = 1 << 30

COLUMNS = "{:20} {:12} {:>12} {:>9} {:>10}  {:12} {:14} {:>12}  {:24} {}"


def run(options: argparse.Namespace) -> int:
    """Print one line per model; return 1 if the server does not answer or no model is ready."""
    try:
        with euclidesdb.Client(options.address, timeout=10) as client:
            models = client.models()
    except (euclidesdb.EuclidesDBError, ValueError) as error:
        print(f"euclidesdb: {options.address}: {error}", file=sys.stderr)
        return 1
    print(
        COLUMNS.format(
            "model",
            "state",
            "feature_dim",
            "items",
            "disk",
            "engine",
            "metric",
            "recall",
            "index",
            "remark",
        )
    )
    for model in models:
        print(
            COLUMNS.format(
                model.name,
                model.state,
                model.feature_dim,
                model.items,
                _disk(model.disk_bytes),
                model.engine,
                model.metric,
                _recall(model.index),
                _index(model.index),
                model.reason or ("imported from EuclidesDB" if model.adopted else ""),
            ).rstrip()
        )
    return 0 if any(model.state == "ready" for model in models) else 1


def _disk(size: int) -> str:
    if not size:
        return ""
    return f"{size / MIB:,.1f} MiB" if size < GIB else f"{size / GIB:,.1f} GiB"


def _recall(index: euclidesdb.IndexInfo | None) -> str:
    if index is None or index.recall is None:
        return ""
    if not index.recall_samples:
        return "exact"
    return f"{index.recall:.3f} ({index.recall_samples})"


def _index(index: euclidesdb.IndexInfo | None) -> str:
    if index is None:
        return ""
    unindexed = f" + {index.unindexed_rows:,} unindexed" if index.unindexed_rows else ""
    segments = f" in {index.segments} segments" if index.segments > 1 else ""
    building = ", building" if index.building else ""
    verifying = ", verifying" if index.verifying else ""
    failure = f", not built: {index.failure}" if index.failure else ""
    return f"{index.description}{segments}{unindexed}{building}{verifying}{failure}"
