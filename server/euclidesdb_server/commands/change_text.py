"""What an add or an import has changed, as commands print it."""

from __future__ import annotations

import euclidesdb


def change_counts(changes: euclidesdb.Changes) -> dict[str, int]:
    """With --json."""
    return {
        "added": changes.added,
        "updated": changes.replaced,
        "unchanged": changes.unchanged,
    }


def others(changes: euclidesdb.Changes) -> str:
    """How many items were not new, to follow the number of those that were."""
    updated, unchanged = changes.replaced, changes.unchanged
    again = f", {updated:,} stored already and brought up to date" if updated else ""
    return again + (f", {unchanged:,} stored already and unchanged" if unchanged else "")
