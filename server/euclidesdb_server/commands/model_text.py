"""What a server says of a model, in short texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import euclidesdb

MIB: Final = 1 << 20
GIB: Final = 1 << 30


def disk(size: int) -> str:
    """A size in bytes; "" for 0."""
    if not size:
        return ""
    return f"{size / MIB:,.1f} MiB" if size < GIB else f"{size / GIB:,.1f} GiB"


def recall(index: euclidesdb.IndexInfo | None) -> str:
    """The measured recall, with the number of sampled queries."""
    if index is None or index.recall is None:
        return ""
    if not index.recall_samples:
        return "exact"
    return f"{index.recall:.3f} ({index.recall_samples})"


def index_state(index: euclidesdb.IndexInfo | None) -> str:
    """What is built, and what is being done about the rest."""
    if index is None:
        return ""
    both = index.indexed_rows and index.unindexed_rows
    unindexed = f" + {index.unindexed_rows:,} unindexed" if both else ""
    segments = f" in {index.segments} segments" if index.segments > 1 else ""
    building = ", building" if index.building else ""
    verifying = ", verifying" if index.verifying else ""
    failure = f", not built: {index.failure}" if index.failure else ""
    return f"{index.description}{segments}{unindexed}{building}{verifying}{failure}"
