"""Queries by examples as messages."""

from __future__ import annotations

from typing import Any

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb._payloads import KINDS
from euclidesdb._query_types import Example, Examples
from euclidesdb_protos.v1 import database_pb2 as pb


def write_examples(message: pb.Examples, examples: Any) -> None:
    """Put examples into a message.

    Raises TypeError or ValueError for what cannot be sent, and other errors if an image cannot be
    read; a note says which example it is.
    """
    if not isinstance(examples, Examples):
        raise TypeError(
            f"examples must be Examples(positive=[...], negative=[...]), not "
            f"{checks.shown(examples)}"
        )
    for name in ("positive", "negative"):
        values = checks.items(f"examples.{name}", getattr(examples, name), "Example")
        for position, example in enumerate(values):
            try:
                _write(getattr(message, name).add(), example)
            except Exception as error:  # an image library's own, too
                error.add_note(f"in examples.{name}[{position}]")
                raise
    if not message.positive:
        raise ValueError("examples.positive must not be empty")


def _write(message: pb.Example, example: Any) -> None:
    if not isinstance(example, Example):
        raise TypeError(
            'an example must be an Example, such as Example(id="sku-1"), not '
            f"{checks.shown(example)}"
        )
    raw = {kind: getattr(example, kind) for kind in KINDS}
    name, value = checks.exactly_one({**raw, "id": example.id, "vector": example.vector})
    if name == "vector":
        arrays.write_vector(message.vector, value)
    elif name == "id":
        message.id = checks.item_id("id", value)
    else:
        KINDS[name].write(message.payload, value)
