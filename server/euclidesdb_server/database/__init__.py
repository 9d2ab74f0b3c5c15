"""The use cases: add, get, remove, find similar, load and unload models.

Promises: when `add` returns, the item is on disk and in the next search; when `remove` returns, it
is in none; nothing is written for an item that is refused. Knows neither gRPC, nor torch, nor
LevelDB's bytes.
"""

from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.model_lifecycle import ModelLifecycle
from euclidesdb_server.database.model_table import Catalog

__all__ = ["Catalog", "Embedder", "FeatureDatabase", "ModelLifecycle"]
