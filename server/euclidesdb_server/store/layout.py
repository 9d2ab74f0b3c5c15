"""The names of the folders in a data folder (FORMAT.md)."""

from __future__ import annotations

from typing import Final

STORE_FOLDER: Final = "leveldb"
SEGMENTS_FOLDER: Final = "segments"
COLUMNS_FOLDER: Final = "columns"
CHECKPOINT_FOLDER: Final = "backup.checkpoint"
