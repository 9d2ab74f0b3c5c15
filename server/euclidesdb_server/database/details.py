"""DetailsReader: what a search returns of its results, read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from euclidesdb_server.database.attribute_paths import selected
from euclidesdb_server.database.candidates import Candidate
from euclidesdb_server.database.grouping import Grouping
from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import NeighborDetails, Neighbors
from euclidesdb_server.database.search_work import SearchWork, text_bytes, texts_bytes
from euclidesdb_server.database.top_labels import LabelProbability, top_labels
from euclidesdb_server.store import FeatureStore, ItemRecord, StoreReader
from euclidesdb_server.values.filters import Scalar

NUMBER_BYTES: Final = 8
LABEL_BYTES: Final = 32
"""Of a label and its probability, besides the text. In memory they take some hundred bytes, so this
counts more than they have in the reply."""
DETAILS_BYTES: Final = 64
"""Of the details of one result, besides what is in them; likewise."""


class DetailsReader(msgspec.Struct, frozen=True):
    """Reads what the conditions of a search request of each result in one space.

    space: its number. labels: the names of the classes that its model predicts; empty if they are
    not known. grouping: of the results, if they are grouped. work: of the call.
    """

    store: FeatureStore
    space: int
    labels: Sequence[str]
    conditions: Conditions
    grouping: Grouping | None
    work: SearchWork

    def read(self, results: Sequence[Candidate]) -> tuple[Neighbors, set[str]]:
        """The results with what was requested of them; and those that are not stored any more.

        Records are read one at a time, and no further than a reply may have: there may be a
        thousand, and items that were stored before there was a limit can be of any size.

        Raises ReplyTooLarge, DeadlineExceeded, StorageError.
        """
        conditions = self.conditions
        ids = [result.id for result in results]
        self.work.add_to_reply(texts_bytes(ids))
        distances = [result.distance for result in results]
        with_details = conditions.options.returns_details
        if not (conditions.returns_attributes or conditions.include_metadata or with_details):
            return Neighbors(ids, distances), set()
        gone: set[str] = set()
        attributes, metadata = list[str](), list[bytes]()
        details = list[NeighborDetails]()
        with self.store.snapshot() as reader:
            for item_id in ids:
                self.work.check()
                record = reader.item(item_id)
                if record is None:
                    gone.add(item_id)
                    continue
                if conditions.returns_attributes:
                    attributes.append(returned_attributes(record, conditions, self.work))
                if conditions.include_metadata:
                    metadata.append(returned_metadata(record, self.work))
                if with_details:
                    details.append(self._details(reader, item_id, record))
        found = Neighbors(
            ids,
            distances,
            attributes if conditions.returns_attributes else None,
            metadata if conditions.include_metadata else None,
            details if with_details else None,
        )
        return found, gone

    def _details(self, reader: StoreReader, item_id: str, record: ItemRecord) -> NeighborDetails:
        options = self.conditions.options
        payload = vector = predictions = group = None
        labels: tuple[LabelProbability, ...] = ()
        label = record.labels.get(self.space)
        if label is not None and options.include_vectors:
            vector = reader.vector(self.space, label)
        if label is not None and (options.include_predictions or options.top_labels):
            predictions = reader.predictions(self.space, label)
        if predictions is not None and options.top_labels:
            labels = top_labels(predictions, self.labels, options.top_labels)
        if not options.include_predictions:
            predictions = None
        if options.include_payload and record.payload_label is not None:
            payload = reader.payload(record.payload_label)
        if self.grouping is not None:
            group = self.grouping.value(reader, item_id, record)
        self.work.add_to_reply(
            sum(array.nbytes for array in (vector, predictions) if array is not None)
            + (0 if payload is None else len(payload.data))
            + sum(text_bytes(each.label) + LABEL_BYTES for each in labels)
            + _value_bytes(group)
            + DETAILS_BYTES
        )
        return NeighborDetails(payload, vector, predictions, labels, group)


def returned_attributes(record: ItemRecord, conditions: Conditions, work: SearchWork) -> str:
    """The attributes of an item that a search returns. Raises ReplyTooLarge."""
    names, text = conditions.options.attribute_names, record.attributes_json
    text = selected(text, names) if names else text
    work.add_to_reply(text_bytes(text))
    return text


def returned_metadata(record: ItemRecord, work: SearchWork) -> bytes:
    """The metadata of an item that a search returns. Raises ReplyTooLarge."""
    work.add_to_reply(len(record.metadata))
    return record.metadata


def _value_bytes(value: Scalar | None) -> int:
    return text_bytes(value) if isinstance(value, str) else NUMBER_BYTES
