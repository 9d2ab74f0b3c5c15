"""The use cases: add, get, remove, find similar, load, unload and drop models.

Promises: when `add` returns, the item is on disk and in the next search; when `remove` returns, it
is in no answer; nothing is written for an item that is refused; a call sees one version of each
model. Does not know gRPC, torch or LevelDB's bytes.
"""

from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.embedding_jobs import EmbeddingJobs
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.fields import ModelFields
from euclidesdb_server.database.initial_servings import initial_servings
from euclidesdb_server.database.item_queries import ItemQueries
from euclidesdb_server.database.model_lifecycle import ModelLifecycle
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.space_opener import SpaceOpener
from euclidesdb_server.database.space_sizes import SpaceSizes
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.database.version_drops import VersionDrops

__all__ = [
    "Embedder",
    "EmbeddingJobs",
    "FeatureDatabase",
    "ItemQueries",
    "ModelFields",
    "ModelLifecycle",
    "ModelTable",
    "Serving",
    "SpaceOpener",
    "SpaceSizes",
    "SupersededSpace",
    "VersionDrops",
    "initial_servings",
    "superseded_serving",
]
