"""What is kept: LevelDB, the only source of truth. FORMAT.md defines every byte of it.

The one place that imports plyvel. Everything else on disk can be rebuilt from this.
"""

from euclidesdb_server.store.migration import ModelVersion, holds_euclidesdb, migrate
from euclidesdb_server.store.reader import ItemRecord, StoredRows, StoreReader
from euclidesdb_server.store.store import ColumnsWrite, FeatureStore, ItemWrite, SpaceRecord

__all__ = [
    "ColumnsWrite",
    "FeatureStore",
    "ItemRecord",
    "ItemWrite",
    "ModelVersion",
    "SpaceRecord",
    "StoreReader",
    "StoredRows",
    "holds_euclidesdb",
    "migrate",
]
