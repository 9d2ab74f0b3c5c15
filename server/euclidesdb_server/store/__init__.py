"""The store: items with their vectors, predictions and payloads, in LevelDB.

It is the only source of truth: everything else in the data folder can be rebuilt from it.
FORMAT.md defines every byte on disk.

Promises: a write is atomic, and durable when it returns (`[database] sync`); a write that fails
never endangers others; damage is detected and refused, never returned as data; reads continue
while nothing can be written. It also migrates databases of EuclidesDB (C++) and checks a store
record by record (`euclidesdb verify`).

Does not know models, distances or search: a space is a number, and a vector is bytes of a known
length. The only place that imports plyvel.
"""

from euclidesdb_server.store.column_writes import ColumnsWrite
from euclidesdb_server.store.columns_files import (
    ColumnsFile,
    ColumnsRecord,
    labeled_items,
    labels_up_to,
)
from euclidesdb_server.store.item_writes import ItemWrite
from euclidesdb_server.store.job_records import (
    CANCELLED,
    FAILED,
    RUNNING,
    SUCCEEDED,
    JobRecord,
)
from euclidesdb_server.store.migration import ModelVersion, holds_euclidesdb, migrate
from euclidesdb_server.store.reader import ItemRecord, StoredRows, StoreReader
from euclidesdb_server.store.recent_requests import request_digest
from euclidesdb_server.store.segment_records import Bits, SegmentRecord
from euclidesdb_server.store.space_table import SpaceRecord
from euclidesdb_server.store.store import FeatureStore

__all__ = [
    "CANCELLED",
    "FAILED",
    "RUNNING",
    "SUCCEEDED",
    "Bits",
    "ColumnsFile",
    "ColumnsRecord",
    "ColumnsWrite",
    "FeatureStore",
    "ItemRecord",
    "ItemWrite",
    "JobRecord",
    "ModelVersion",
    "SegmentRecord",
    "SpaceRecord",
    "StoreReader",
    "StoredRows",
    "holds_euclidesdb",
    "labeled_items",
    "labels_up_to",
    "migrate",
    "request_digest",
]
