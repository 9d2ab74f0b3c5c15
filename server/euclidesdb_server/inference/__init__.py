"""The parent's side of models: what a model folder says, and the worker that runs it.

Nothing here imports torch, Pillow or a tokenizer: those live in the worker process.
"""

from euclidesdb_server.inference.embedding_cache import EmbeddingCache
from euclidesdb_server.inference.model import Model
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.registry import ModelRegistry, configured_folders

__all__ = ["EmbeddingCache", "Model", "ModelRegistry", "ProgramConf", "configured_folders"]
