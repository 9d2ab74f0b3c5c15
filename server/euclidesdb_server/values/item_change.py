"""What a write has changed of an item."""

from __future__ import annotations

from enum import StrEnum


class ItemChange(StrEnum):
    """The outcome of an item that is on disk."""

    ADDED = "added"
    """It is new."""
    REPLACED = "replaced"
    """It was stored already, and has been changed."""
    UNCHANGED = "unchanged"
    """It was stored already as it is given; nothing was written."""
