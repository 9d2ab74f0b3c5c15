"""The removal of many items by id: the outcome of each, or what it would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from euclidesdb_server.database.results import Removal
from euclidesdb_server.database.validation import check_ids
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import CorruptRecord, DatabaseError, UnknownItem
from euclidesdb_server.store import FeatureStore, StoreReader, request_digest

READ_AT_A_TIME: Final = 1024


def remove_many(writer: Writer, ids: Sequence[str], request_key: bytes) -> Removal:
    """Remove items. ids: some may occur more than once, or be impossible.

    request_key: an item that a request with the same key has removed counts as removed, and is not
    removed again.
    """

    def remove(possible: Sequence[str]) -> Mapping[str, DatabaseError]:
        requests = {each: request_digest(request_key, "remove", each) for each in possible}
        return writer.remove(possible, requests=requests if request_key else None)

    return _outcome(ids, remove)


def would_remove(store: FeatureStore, ids: Sequence[str]) -> Removal:
    """What `remove_many` would remove. Raises StorageError if that cannot be read."""
    return _outcome(ids, lambda possible: _would_fail(store, possible))


def _outcome(
    ids: Sequence[str], remove: Callable[[Sequence[str]], Mapping[str, DatabaseError]]
) -> Removal:
    impossible = check_ids(ids)
    possible = [*dict.fromkeys(each for row, each in enumerate(ids) if row not in impossible)]
    failed = remove(possible)
    missing, errors = list[int](), dict[int, DatabaseError]()
    for row, item_id in enumerate(ids):
        error = impossible.get(row) or failed.get(item_id)
        if isinstance(error, UnknownItem):
            missing.append(row)
        elif error is not None:
            errors[row] = error
    return Removal(len(possible) - len(failed), tuple(missing), errors)


def remove_unchanged(writer: Writer, labels: Mapping[str, int]) -> Removal:
    """Remove items that have not been written since. labels: of the last write of each, by id."""
    failed = writer.remove([*labels], labels)
    positions = {item_id: position for position, item_id in enumerate(labels)}
    missing, errors = list[int](), dict[int, DatabaseError]()
    for item_id, error in failed.items():
        if isinstance(error, UnknownItem):
            missing.append(positions[item_id])
        else:
            errors[positions[item_id]] = error
    return Removal(len(labels) - len(failed), tuple(sorted(missing)), errors)


def _would_fail(store: FeatureStore, ids: Sequence[str]) -> Mapping[str, DatabaseError]:
    """The items that could not be removed, and why."""
    errors: dict[str, DatabaseError] = {}
    with store.snapshot() as reader:
        for start in range(0, len(ids), READ_AT_A_TIME):
            _check_readable(reader, ids[start : start + READ_AT_A_TIME], errors)
    return errors


def _check_readable(
    reader: StoreReader, ids: Sequence[str], errors: dict[str, DatabaseError]
) -> None:
    try:
        records = reader.items(ids)
    except CorruptRecord as error:
        if len(ids) == 1:
            errors[ids[0]] = error
            return
        _check_readable(reader, ids[: len(ids) // 2], errors)
        _check_readable(reader, ids[len(ids) // 2 :], errors)
        return
    for item_id, record in zip(ids, records, strict=True):
        if record is None:
            errors[item_id] = UnknownItem(f"no item {item_id!r}")
