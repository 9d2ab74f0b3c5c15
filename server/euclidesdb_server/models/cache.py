"""EmbeddingCache: what models said of payloads, so that the same bytes are not run twice."""

from __future__ import annotations

import threading
from typing import Final

from cachetools import LRUCache

from euclidesdb_server.types import Embedding

ENTRY_BYTES: Final = 500
"""What an entry takes beside its arrays."""


class EmbeddingCache:
    """The answers used last, up to a number of bytes. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[str, bytes], Embedding] = LRUCache(most_bytes, _size)

    def get(self, version: str, digest: bytes) -> Embedding | None:
        """What a model version said of the payload; None where that is not known (any more)."""
        with self._lock:
            return self._kept.get((version, digest))

    def put(self, version: str, digest: bytes, embedding: Embedding) -> None:
        """Remember it, where it is not larger than the whole cache."""
        # copied out of the answers of the whole batch, which would stay in memory with them
        vector, predictions = embedding.vector.copy(), embedding.predictions
        embedding = Embedding(vector, None if predictions is None else predictions.copy())
        size = _size(embedding)
        with self._lock:
            if size <= self._kept.maxsize:
                self._kept[version, digest] = embedding


def _size(embedding: Embedding) -> int:
    predictions = 0 if embedding.predictions is None else embedding.predictions.nbytes
    return ENTRY_BYTES + embedding.vector.nbytes + predictions
