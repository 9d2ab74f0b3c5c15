"""Writing to a store as the database does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.store import FeatureStore, ItemRecord, ItemWrite, StoreReader, keys
from euclidesdb_server.store.keys import MAX_LABEL
from euclidesdb_server.store.reader import unpack_item
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def embedding(*values: float, predictions: Vector | None = None) -> Embedding:
    return Embedding(vector(*values), predictions)


def write_item(
    store: FeatureStore,
    item_id: str,
    embeddings: Mapping[int, Embedding],
    *,
    payload: Payload | None = None,
    attributes_json: str = "{}",
    metadata: bytes = b"",
) -> ItemRecord:
    """Write an item's vectors in some spaces, keeping those of the others; returns its record."""
    before = store.item(item_id)
    with store.labels.allocate() as (label,):
        kept = before or ItemRecord()
        after = ItemRecord(
            attributes_json,
            metadata,
            dict(kept.labels) | dict.fromkeys(embeddings, label),
            kept.payload_label if payload is None else label,
            kept.payload_digest if payload is None else b"digest",
        ).with_labels(current=label, first=kept.first_label or label)
        store.write(ItemWrite(item_id, label, before, after, embeddings, payload))
    return after


def write_labels(store: FeatureStore) -> dict[str, tuple[int, int]]:
    """The first and the current label of each item; that each label named has its key, and no
    other has.
    """
    labels, named = dict[str, tuple[int, int]](), dict[bytes, bytes]()
    with store.snapshot() as reader:
        for key, value in reader.prefix(keys.ITEM):
            record = unpack_item(value, repr(key))
            assert 0 < record.first_label <= record.current_label
            assert record.current_label in record.all_labels()
            labels[key[1:].decode()] = (record.first_label, record.current_label)
            named |= {keys.label_key(label): key[1:] for label in record.all_labels()}
        assert dict(reader.prefix(keys.LABEL)) == named
    return labels


def stored_rows(store: StoreReader, number: int, dim: int, after: int = 0) -> dict[int, Any]:
    """Every row of a space with a greater label: its id and its numbers, by label."""
    pieces = store.rows(number, dim, after=after, up_to=MAX_LABEL)
    return {
        label: (item_id, row.tolist())
        for piece in pieces
        for label, item_id, row in zip(piece.labels.tolist(), piece.ids, piece.vectors, strict=True)
    }


def copy_of_crashed(folder: Path, copy: Path) -> Path:
    """A copy of the files at this moment, without a close: what a crash would leave."""
    while True:
        # other threads delete tables of LevelDB and build segments
        with suppress(FileNotFoundError, shutil.Error):
            before = _listing(folder)
            shutil.copytree(folder, copy)
            if _listing(folder) == before:  # so the copy is of one moment
                return copy
        shutil.rmtree(copy, ignore_errors=True)


def _listing(folder: Path) -> set[tuple[Path, int, int]]:
    listing = set()
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            about = path.stat()
            listing.add((path, about.st_size, about.st_mtime_ns))
    return listing
