"""The items of a database as registers, through which a version number is written and read.

The version is the item's only number: an anchor at 0 is as far away as the version is great, so
the distances of an answer tell which version each item was found in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import numpy as np

import euclidesdb
from euclidesdb_server.errors import UnknownItem
from tests.proofs.history import Version
from tests.support.assembled import Database

MODEL: Final = "vectors"
DIM: Final = 2
ANCHOR: Final = "anchor"
ALL: Final = 1000
METADATA_BYTES: Final = 1000
"""Of each item, about: a small write buffer of LevelDB is soon full of it."""


class Registers(Protocol):
    """Thread-safe."""

    def add(self, item_id: str, version: int) -> None:
        """Write a version."""

    def add_many(self, versions: Mapping[str, int]) -> None:
        """Write versions of many items in one call."""

    def remove(self, item_id: str) -> bool:
        """Whether it was there."""

    def get(self, item_id: str) -> Version:
        """The version that is stored."""

    def search(self) -> dict[str, int]:
        """All that a search by vector finds, with versions."""

    def search_by_id(self, item_id: str) -> tuple[int, set[str]] | None:
        """The version that was searched with, and all that was found; None: it is not there."""


class DatabaseRegisters:
    """Of a FeatureDatabase, by its own methods."""

    def __init__(self, database: Database) -> None:
        self._database = database
        vectors: dict[str, Any] = {MODEL: [0, 0]}
        database.add(ANCHOR, **vectors)

    def add(self, item_id: str, version: int) -> None:
        texts: dict[str, Any] = {"metadata": metadata_of(version)}
        vectors: dict[str, Any] = {MODEL: [version, 0]}
        self._database.add(item_id, texts=texts, **vectors)

    def add_many(self, versions: Mapping[str, int]) -> None:
        refused = self._database.add_vectors(
            MODEL, [*versions], vectors(versions.values()), metadata=metadata(versions.values())
        )
        assert not refused

    def remove(self, item_id: str) -> bool:
        try:
            self._database.features.remove(item_id)
        except UnknownItem:
            return False
        return True

    def get(self, item_id: str) -> Version:
        try:
            item = self._database.get(item_id)
        except UnknownItem:
            return None
        (found,) = item.embeddings
        assert found.vector is not None
        assert item.metadata == metadata_of(int(found.vector[0])), "half of an item"
        return int(found.vector[0])

    def search(self) -> dict[str, int]:
        found = self._database.near([0, 0], MODEL, ALL)
        return versions_found([each.id for each in found], [each.distance for each in found])

    def search_by_id(self, item_id: str) -> tuple[int, set[str]] | None:
        try:
            found = self._database.near(item_id, MODEL, ALL)
        except UnknownItem:
            return None
        distances = {each.id: each.distance for each in found}
        assert len(distances) == len(found), "an id came twice"
        return round(distances.pop(ANCHOR)), {*distances}


class ServedRegisters:
    """Of a server, over gRPC."""

    def __init__(self, client: euclidesdb.Client) -> None:
        self._client = client
        client.add(ANCHOR, vectors={MODEL: [0, 0]})

    def add(self, item_id: str, version: int) -> None:
        vectors = {MODEL: [version, 0]}
        self._client.add(item_id, vectors=vectors, metadata=metadata_of(version))

    def add_many(self, versions: Mapping[str, int]) -> None:
        columns = vectors(versions.values())
        refused = self._client.add_vectors(
            [*versions], columns, model=MODEL, metadata=metadata(versions.values())
        )
        assert not refused

    def remove(self, item_id: str) -> bool:
        try:
            self._client.remove(item_id)
        except euclidesdb.UnknownItem:
            return False
        return True

    def get(self, item_id: str) -> Version:
        try:
            item = self._client.get(item_id, include_vectors=True)
        except euclidesdb.UnknownItem:
            return None
        (found,) = item.embeddings
        assert found.vector is not None
        assert item.metadata == metadata_of(int(found.vector[0])), "half of an item"
        return int(found.vector[0])

    def search(self) -> dict[str, int]:
        found = self._client.find_similar(vector=[0, 0], model=MODEL, top_k=ALL)[MODEL]
        return versions_found(found.ids, found.distances)

    def search_by_id(self, item_id: str) -> tuple[int, set[str]] | None:
        try:
            found = self._client.find_similar(id=item_id, model=MODEL, top_k=ALL)[MODEL]
        except euclidesdb.UnknownItem:
            return None
        distances = dict(zip(found.ids, found.distances, strict=True))
        assert len(distances) == len(found.ids), "an id came twice"
        return round(distances.pop(ANCHOR)), {*distances}


def versions_found(ids: Iterable[str], distances: Iterable[float]) -> dict[str, int]:
    found = [(each, round(far)) for each, far in zip(ids, distances, strict=True)]
    versions = dict(found)
    assert len(versions) == len(found), "an id came twice"
    assert versions.pop(ANCHOR) == 0
    return versions


def vectors(versions: Iterable[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([[version, 0] for version in versions], np.float32)


def metadata(versions: Iterable[int]) -> list[bytes]:
    return [metadata_of(version) for version in versions]


def metadata_of(version: int) -> bytes:
    return b"%d" % version + bytes(METADATA_BYTES)
