"""Determines what a write changes of a stored item; only that is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import ItemRecord, ItemWrite, StoreReader
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.item_change import ItemChange


def item_write(
    item: EmbeddedItem,
    label: int,
    before: ItemRecord | None,
    unchanged: Collection[int],
    *,
    keep_payloads: bool,
) -> ItemWrite | None:
    """The write that brings a stored item up to date; None if it is.

    before: its record, None if it is new. unchanged: the spaces whose stored vector or failure is
    the item's (`unchanged_spaces`).

    A new payload makes the vectors obsolete that other models made from the old one, and their
    failures; ready-made vectors stay. A vector replaces a failure, and a failure a vector, whatever
    that was. Payloads are stored if `keep_payloads`.
    """
    embeddings = {
        space.record.number: embedding
        for space, embedding in item.embeddings.items()
        if space.record.number not in unchanged
    }
    failures = {
        space.record.number: failure
        for space, failure in item.failures.items()
        if space.record.number not in unchanged
    }
    record = before or ItemRecord()
    labels, ready_made, failed = dict(record.labels), set(record.ready_made), dict(record.failed)
    payload_label, digest = record.payload_label, item.digest
    if digest is None:
        digest = record.payload_digest
    elif digest != record.payload_digest:
        labels = {number: label for number, label in labels.items() if number in ready_made}
        payload_label, failed = None, {}
    if item.payload is not None and keep_payloads and payload_label is None:
        payload_label = label
    labels |= dict.fromkeys(embeddings, label)
    ready_made -= embeddings.keys()
    ready_made |= {space.record.number for space in item.ready_made}
    failed = {number: each for number, each in failed.items() if number not in embeddings}
    for number in failures:
        labels.pop(number, None)
        ready_made.discard(number)
        failed[number] = label
    after = ItemRecord(
        record.attributes_json if item.attributes_json is None else item.attributes_json,
        record.metadata if item.metadata is None else item.metadata,
        labels,
        payload_label,
        digest,
        frozenset(ready_made),
        record.changed_label,
        record.added_label,
        failed,
    )
    if after == before:
        return None
    after = after.with_labels(current=label, first=record.first_label or label)
    payload = item.payload if payload_label == label else None
    return ItemWrite(item.id, label, before, after, embeddings, payload, failures)


def changes_of(
    ids: Sequence[str], before: Sequence[ItemRecord | None], writes: Iterable[ItemWrite]
) -> list[ItemChange]:
    """What a batch has changed of each item. writes: of those that were stored before."""
    written = {write.item_id for write in writes}
    return [
        ItemChange.ADDED
        if record is None
        else ItemChange.REPLACED
        if item_id in written
        else ItemChange.UNCHANGED
        for item_id, record in zip(ids, before, strict=True)
    ]


def repeated_changes(records: Iterable[ItemRecord | None]) -> list[ItemChange]:
    """What requests that have been applied are answered when they are repeated.

    What they have changed, as far as that can be told from the items as they are now: added if an
    item has never been written again, or is gone.
    """
    return [
        ItemChange.ADDED
        if record is None or record.first_label == record.current_label
        else ItemChange.REPLACED
        for record in records
    ]


def with_known_payload(
    item: EmbeddedItem, before: ItemRecord | None, reader: StoreReader
) -> EmbeddedItem:
    """The item, with the digest of the stored payload if that is what its vectors were made from.

    An imported item may come without the digest, as from an .npz file, which has none. If a model
    made its vectors, and they are those that are stored, bit for bit, they are of the same payload.
    """
    if not (item.imported and before is not None and before.payload_digest):
        return item
    if item.payload is not None or item.digest != b"" or item.failures:
        return item
    for space, embedding in item.embeddings.items():
        if space in item.ready_made:
            continue
        number = space.record.number
        label = before.labels.get(number)
        if label is None or number in before.ready_made:
            return item
        if not _is_stored(reader, number, label, embedding):
            return item
    return replace(item, payload_digest=before.payload_digest)


def unchanged_spaces(
    item: EmbeddedItem, before: ItemRecord | None, reader: StoreReader
) -> set[int]:
    """The spaces whose stored vector or failure is the one that would be written.

    A computed vector is unchanged if the stored payload has the digest of the item's. A ready-made
    one is unchanged if it equals the stored one bit for bit, an imported one if both hold. A
    failure with the same payload, reason and message keeps the time of the first one.

    item: as `with_known_payload` returns it.
    """
    unchanged: set[int] = set()
    if before is None:
        return unchanged
    same_payload = item.digest is not None and item.digest == before.payload_digest
    for space, embedding in item.embeddings.items():
        number = space.record.number
        label = before.labels.get(number)
        if label is None or (space in item.ready_made) != (number in before.ready_made):
            continue
        if space in item.ready_made or item.imported:
            same = (space in item.ready_made or same_payload) and _is_stored(
                reader, number, label, embedding
            )
        else:
            same = same_payload and space in item.known
        if same:
            unchanged.add(number)
    for space, failure in item.failures.items():
        label = before.failed.get(space.record.number)
        if label is not None and same_payload:
            with suppress(CorruptRecord):  # then it is written anew
                stored = reader.item_failure(space.record.number, label)
                if stored is not None and stored.repeats(failure):
                    unchanged.add(space.record.number)
    return unchanged


def _is_stored(reader: StoreReader, number: int, label: int, embedding: Embedding) -> bool:
    with suppress(CorruptRecord):  # then it is written anew
        stored = reader.vector(number, label)
        if stored is None or stored.tobytes() != embedding.vector.tobytes():
            return False
        if embedding.predictions is None:  # those that are stored stay
            return True
        known = reader.predictions(number, label)
        return known is not None and known.tobytes() == embedding.predictions.tobytes()
    return False
