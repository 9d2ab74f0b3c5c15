"""RecentRequests: which writes were made lately, so that a repeated one is not made again.

A caller whose reply is lost repeats its request with the same key. If the first attempt was
applied, and another caller has written the item since, the repetition must not undo that. So the
key is stored in the batch of the write itself: it is there after any crash if and only if the
write is.

A key is remembered for `KEPT_SECONDS`, or until `MAX_KEYS` later ones, on disk as in memory. Old
records are deleted by later writes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Final

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, packed, unpack

log = logging.getLogger(__name__)

KEPT_SECONDS: Final = 600.0
MAX_KEYS: Final = 100_000
DIGEST_BYTES: Final = 16
DELETED_PER_WRITE: Final = 16
"""Records; more than one, so that they become fewer."""


def request_digest(key: bytes, kind: str, what: str) -> bytes:
    """What is remembered of a request: it is repeated only by one of the same kind and item."""
    found = blake2b(digest_size=DIGEST_BYTES)
    for part in (key, kind.encode(), what.encode()):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


class RecentRequests:
    """Thread-safe. now: seconds since 1970."""

    def __init__(self, reader: StoreReader, now: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._now = now
        self._lock = threading.Lock()
        self._records: deque[tuple[int, Sequence[bytes]]] = deque()
        self._known: set[bytes] = set()
        self._last = 0
        self.load()

    def load(self) -> None:
        """Read what is on disk, after a start or a failed write. Raises StorageError."""
        records = []
        for key, value in self._reader.prefix(keys.REQUESTS):
            number = keys.unpack_label(key[1:])
            try:
                records.append((number, unpack_requests(value)))
            except CorruptRecord as error:
                log.warning("%s; it is ignored", error)
        with self._lock:
            self._records = deque(records)
            self._known = {digest for _, digests in records for digest in digests}
            self._last = max(self._last, records[-1][0] if records else 0)

    def __contains__(self, digest: object) -> bool:
        return digest in self._known

    @contextmanager
    def written(self, batch: Any, digests: Sequence[bytes]) -> Iterator[None]:
        """Within it, a batch is written that is the first to apply some requests.

        The caller holds the locks of its items, here and when it asks whether a request is known.
        """
        if not digests:
            yield
            return
        number = self._put(batch, digests)
        yield
        with self._lock:
            self._records.append((number, digests))
            self._known.update(digests)

    def _put(self, batch: Any, digests: Sequence[bytes]) -> int:
        """Add the record of a write to its batch, and the deletion of old ones; its number."""
        with self._lock:
            self._last = number = max(self._last + 1, int(self._now() * 1e6))
            oldest = number - int(KEPT_SECONDS * 1e6)
            for _ in range(DELETED_PER_WRITE):
                too_many = len(self._known) + len(digests) > MAX_KEYS
                if not self._records or not (too_many or self._records[0][0] < oldest):
                    break
                old, forgotten = self._records.popleft()
                self._known.difference_update(forgotten)
                batch.delete(keys.requests_key(old))
        batch.put(keys.requests_key(number), packed([b"".join(digests)]))
        return number


def unpack_requests(value: bytes) -> Sequence[bytes]:
    """The digests in a record. Raises CorruptRecord."""
    (joined,) = unpack(value, "a record of recent requests", 1)
    if not isinstance(joined, bytes) or len(joined) % DIGEST_BYTES:
        raise CorruptRecord("a record of recent requests has an unexpected form")
    return tuple(
        joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES)
    )
