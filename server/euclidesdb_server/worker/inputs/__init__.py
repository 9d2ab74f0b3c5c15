"""The kinds of input that a program may take: the worker's side.

One class per kind turns an item's bytes into a tensor, and a group of items into the arguments of
a forward pass. Bytes that are not what the kind promises raise Undecodable and nothing else.
`inference/input_kinds/` has the other side of each kind: its keys of model.conf.

To add a kind, write one class here and one in `inference/input_kinds/`, and enter each in its
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any, Final

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs.protocol import InputKind, Undecodable

__all__ = ["INPUT_CLASSES", "InputKind", "Undecodable", "make_input"]

INPUT_CLASSES: Final[Mapping[str, str]] = {
    "image": "euclidesdb_server.worker.inputs.image:ImageInput",
    "text": "euclidesdb_server.worker.inputs.text:TextInput",
    "tensor": "euclidesdb_server.worker.inputs.tensor:TensorInput",
}
"""By the value of `input` in model.conf. Each class may need a library of its own, so a worker
imports only the class of its model's kind."""


def make_input(settings: Mapping[str, Any]) -> InputKind:
    """The input kind of a model.

    settings: the keys of its model.conf, and `max_image_pixels`, a limit that the server sets.
    Raises ModelLoadError.
    """
    kind = settings["input"]
    if kind not in INPUT_CLASSES:
        raise ModelLoadError(f"unknown input {kind!r}: should be {' or '.join(INPUT_CLASSES)}")
    try:
        input_class = resolve_name(INPUT_CLASSES[kind])
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"input = {kind} needs the package {error.name}: pip install 'euclidesdb[server]'"
        ) from error
    made: InputKind = input_class(settings)
    return made
