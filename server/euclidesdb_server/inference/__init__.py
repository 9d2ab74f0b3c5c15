"""The server's side of models: model folders, queues, and the worker processes that run programs.

A model is found in a folder, served by worker processes and described by a fingerprint. Every
request that a model accepts is answered, with an embedding or with an error, whatever its workers
do; a model that cannot be served is quarantined with its reason, and harms no other.

Does not know the database, the index or gRPC. Nothing here imports torch, Pillow or a tokenizer:
those live in the worker process (`worker/`).
"""

from euclidesdb_server.inference.embedding_cache import EmbeddingCache, embedding_cache
from euclidesdb_server.inference.model import Model
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.registry import ModelRegistry, configured_folders
from euclidesdb_server.inference.taker import RunFuture

__all__ = [
    "EmbeddingCache",
    "Model",
    "ModelRegistry",
    "ProgramConf",
    "RunFuture",
    "configured_folders",
    "embedding_cache",
]
