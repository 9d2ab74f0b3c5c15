"""The parent's side of models: what a model folder says, and the worker that runs it.

Nothing here imports torch, Pillow or a tokenizer: those live in the worker process.
"""

from euclidesdb_server.models.registry import ModelRegistry, configured_folders
from euclidesdb_server.models.served import ServedModel

__all__ = ["ModelRegistry", "ServedModel", "configured_folders"]
