"""The kinds of input that a program may take: the server's side.

One class per kind declares its keys of model.conf, checks them, and says which of them enter the
fingerprint and what an item costs in a batch. `worker/inputs/` has the other side of each kind:
decoding and batching in the worker process. Nothing here decodes an item or imports a library
that does.

To add a kind, write one class here and one in `worker/inputs/`, and enter each in its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from euclidesdb_server.inference.input_kinds.image import ImageConf
from euclidesdb_server.inference.input_kinds.tensor import TensorConf
from euclidesdb_server.inference.input_kinds.text import TextConf
from euclidesdb_server.inference.model_conf import ProgramConf

__all__ = ["INPUT_KINDS", "ImageConf", "TensorConf", "TextConf"]

INPUT_KINDS: Final[Mapping[str, type[ProgramConf]]] = {
    "image": ImageConf,
    "text": TextConf,
    "tensor": TensorConf,
}
"""By the value of `input` in model.conf. It is the `kind` of a Payload, too."""
