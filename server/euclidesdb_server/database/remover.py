"""Remover: removes items from the store and from every space, many in one batch.

A failed removal is in doubt (WriteInDoubt), as a failed write is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from euclidesdb_server.database.item_locks import ItemLocks
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.write_batches import MAX_ITEMS
from euclidesdb_server.database.write_doubts import InDoubt, WriteDoubts
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    ShuttingDown,
    StorageError,
    UnknownItem,
)
from euclidesdb_server.store import FeatureStore, request_digest

NO_REQUESTS: Mapping[str, bytes] = {}


class Remover:
    """Thread-safe. locks, doubts: those of all writes of items."""

    def __init__(
        self, store: FeatureStore, publisher: Publisher, locks: ItemLocks, doubts: WriteDoubts
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._locks = locks
        self._doubts = doubts

    def remove(
        self,
        ids: Sequence[str],
        labels: Mapping[str, int] | None = None,
        requests: Mapping[str, bytes] | None = None,
    ) -> dict[str, DatabaseError]:
        """Remove items; why some were not, by id.

        ids: none of them twice. labels: of the last writes of the items; one that has been written
        again is not removed. requests: the digests of the requests to remove them, by id; one that
        has been applied is not applied again. Errors: UnknownItem (it is not there, or was not when
        the request was first made, or has changed since), StorageError (WriteInDoubt: it may
        be removed or not), ShuttingDown.
        """
        errors: dict[str, DatabaseError] = {}
        for start in range(0, len(ids), MAX_ITEMS):
            part = ids[start : start + MAX_ITEMS]
            self._try_to_remove(part, labels, requests or NO_REQUESTS, errors)
        return errors

    def _try_to_remove(
        self,
        ids: Sequence[str],
        labels: Mapping[str, int] | None,
        requests: Mapping[str, bytes],
        errors: dict[str, DatabaseError],
    ) -> None:
        """Remove items in one batch; adds the error of each that is not removed."""
        try:
            missing = self._remove(ids, labels, requests)
        except (StorageError, ShuttingDown) as error:
            if isinstance(error, CorruptRecord) and len(ids) > 1:
                # a record that cannot be read must not fail the others
                self._try_to_remove(ids[: len(ids) // 2], labels, requests, errors)
                self._try_to_remove(ids[len(ids) // 2 :], labels, requests, errors)
                return
            errors |= dict.fromkeys(ids, error)
        else:
            errors |= {item_id: UnknownItem(f"no item {item_id!r}") for item_id in missing}

    def _remove(
        self, ids: Sequence[str], labels: Mapping[str, int] | None, requests: Mapping[str, bytes]
    ) -> list[str]:
        """Remove items in one batch; returns those that are not stored, or not as they were."""
        with self._locks.of(ids):
            self._doubts.recover()
            known = self._store.requests
            ids = [each for each in ids if requests.get(each) not in known]
            absent = {each: _absent(requests[each]) for each in ids if each in requests}
            to_remove = [each for each in ids if absent.get(each) not in known]
            removed = [
                (item_id, record)
                for item_id, record in zip(to_remove, self._store.items(to_remove), strict=True)
                if record is not None
                and (labels is None or labels[item_id] == record.current_label)
            ]
            there = {item_id for item_id, _ in removed}
            applied = [
                requests[each] if each in there else absent[each]
                for each in to_remove
                if each in requests
            ]
            if removed or applied:
                try:
                    self._store.remove(*removed, requests=applied)
                except StorageError:
                    self._doubts.note(InDoubt(removed=removed))
                    raise
                self._publisher.remove(removed)
            return [item_id for item_id in ids if item_id not in there]


def _absent(request: bytes) -> bytes:
    """What is remembered of a request whose item was not there: it is not, when it is repeated."""
    return request_digest(request, "absent", "")
