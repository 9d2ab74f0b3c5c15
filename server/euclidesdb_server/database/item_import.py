"""ItemImports: items are stored as they were exported, without running a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec.structs import replace

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.prepared_adds import digest_of
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.validation import (
    check_attributes,
    check_id,
    check_metadata,
    check_request_key,
    check_vector,
    check_version,
)
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError, DimensionMismatch, InvalidRequest
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import MAX_MESSAGE_BYTES, Failure
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.vector_columns import VectorColumns

DIGEST_BYTES: Final = 32
MAX_REASON_CHARACTERS: Final = 64
MAX_TIME: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@dataclass(frozen=True, slots=True)
class ImportedEmbedding:
    """A vector of an imported item, and the predictions made with it, if there are any.

    fingerprint: of the version; None: the one in service. ready_made: whether the vector was not
    made from the item's payload.
    """

    model: str
    fingerprint: str | None
    vector: Vector
    predictions: Vector | None = None
    ready_made: bool = False


@dataclass(frozen=True, slots=True)
class ImportedFailure:
    """A version that failed on an imported item. fingerprint: None: that of the one in service."""

    model: str
    fingerprint: str | None
    failure: Failure


@dataclass(frozen=True, slots=True)
class ImportedItem:
    """An item as it was exported. attributes_json, metadata: None keeps what is stored.

    payload_digest: `Payload.digest` of the payload that vectors were made from, if it is not given;
    b"" if it is not known.
    """

    id: str
    attributes_json: str | None = None
    metadata: bytes | None = None
    embeddings: tuple[ImportedEmbedding, ...] = ()
    payload: Payload | None = None
    payload_digest: bytes = b""
    failures: tuple[ImportedFailure, ...] = ()


class ItemImports:
    """Checks items and writes them. Thread-safe. limits: the keys `max_...` of [server]."""

    def __init__(self, models: ModelTable, writer: Writer, limits: ServerConfig) -> None:
        self._models = models
        self._writer = writer
        self._limits = limits

    def write(
        self, items: Iterable[ImportedItem | DatabaseError], request_key: bytes = b""
    ) -> list[ItemChange | DatabaseError]:
        """Write items, in order; the outcome of each is what has changed, or why it is refused.

        An item that is there already is changed as by an add: it keeps its vectors of other models,
        unless they were made from another payload. An error in place of an item is its outcome.

        Outcomes: InvalidRequest, UnknownModel, ModelUnavailable, VersionMismatch,
        DimensionMismatch, StorageError (WriteInDoubt: it may be on disk or not).
        """
        check_request_key(request_key)
        prepared = [self._prepared(item) for item in items]
        if request_key:
            prepared = [
                item
                if isinstance(item, DatabaseError)
                else replace(item, request=digest_of(request_key, f"import {row}", item.id))
                for row, item in enumerate(prepared)
            ]
            # not by columns: a repetition, of which other items may be refused, must find each
            return self._writer.write(prepared)
        good = [item for item in prepared if not isinstance(item, DatabaseError)]
        columns = _columns(good)
        if columns is None:
            return self._writer.write(prepared)
        written = iter(self._writer.write_columns(*columns, {}))
        return [item if isinstance(item, DatabaseError) else next(written) for item in prepared]

    def _prepared(self, item: ImportedItem | DatabaseError) -> EmbeddedItem | DatabaseError:
        if isinstance(item, DatabaseError):
            return item
        try:
            self._check(item)
            embeddings: dict[ModelSpace, Embedding] = {}
            ready_made = set[ModelSpace]()
            for each in item.embeddings:
                space = self._space(each)
                if space in embeddings:
                    raise InvalidRequest(
                        f"item {item.id!r} has two vectors of version {space.record.fingerprint!r} "
                        f"of model {space.record.model!r}"
                    )
                embeddings[space] = Embedding(each.vector, each.predictions)
                if each.ready_made:
                    ready_made.add(space)
            failures: dict[ModelSpace, Failure] = {}
            for failed in item.failures:
                space = self._serving(failed.model, failed.fingerprint).searchable_space()
                if space in embeddings or space in failures:
                    raise InvalidRequest(
                        f"item {item.id!r} has two outcomes of version "
                        f"{space.record.fingerprint!r} of model {space.record.model!r}"
                    )
                check_version(space.record, failed.fingerprint, self._models, "the failure")
                failures[space] = failed.failure
            digest: bytes | None = item.payload_digest
            if not (digest or failures) and len(ready_made) == len(embeddings):
                digest = None  # the import does not mention a payload
            return EmbeddedItem(
                item.id,
                embeddings,
                item.payload,
                item.attributes_json,
                item.metadata,
                frozenset(ready_made),
                imported=True,
                payload_digest=digest,
                failures=failures,
            )
        except DatabaseError as error:
            return error

    def _check(self, item: ImportedItem) -> None:
        check_id(item.id)
        if item.attributes_json is not None:
            check_attributes(item.id, item.attributes_json, self._limits.max_attributes_bytes)
        if item.metadata is not None:
            check_metadata(item.id, item.metadata, self._limits.max_metadata_bytes)
        for each in item.failures:
            _check_failure(item.id, each.failure)
        digest = item.payload_digest
        if digest and len(digest) != DIGEST_BYTES:
            raise InvalidRequest(
                f"payload_digest of item {item.id!r} has {len(digest)} bytes, not {DIGEST_BYTES}"
            )
        if digest and item.payload is not None and digest != item.payload.digest:
            raise InvalidRequest(f"payload_digest of item {item.id!r} is not that of its payload")

    def _space(self, embedding: ImportedEmbedding) -> ModelSpace:
        """The space of an embedding that fits it."""
        serving = self._serving(embedding.model, embedding.fingerprint)
        space = serving.searchable_space()
        check_vector(space.record, embedding.vector, embedding.fingerprint, self._models)
        if embedding.predictions is not None:
            _check_predictions(serving, embedding.predictions)
        return space

    def _serving(self, model: str, fingerprint: str | None) -> Serving:
        if fingerprint is not None:
            earlier = self._models.superseded_name(model, fingerprint)
            if earlier is not None:
                return self._models.resolve(earlier)
        return self._models.resolve(model)


def _columns(items: Sequence[EmbeddedItem]) -> tuple[ModelSpace, VectorColumns] | None:
    """Items as columns, which are written faster, if each is a ready-made vector of one space."""
    spaces = {space for item in items for space in item.ready_made}
    if len(spaces) != 1:
        return None
    (space,) = spaces
    vectors = []
    for item in items:
        embedding = item.embeddings.get(space)
        if (
            embedding is None
            or embedding.predictions is not None
            or len(item.embeddings) > 1
            or item.digest is not None
            or item.failures
        ):
            return None
        vectors.append(embedding.vector)
    attributes = [item.attributes_json for item in items if item.attributes_json is not None]
    metadata = [item.metadata for item in items if item.metadata is not None]
    if len(attributes) not in (0, len(items)) or len(metadata) not in (0, len(items)):
        return None
    ids = [item.id for item in items]
    return space, VectorColumns(ids, np.stack(vectors), attributes or None, metadata or None)


def _check_failure(item_id: str, failure: Failure) -> None:
    if not 1 <= len(failure.reason) <= MAX_REASON_CHARACTERS:
        raise InvalidRequest(
            f"the reason of a failure of item {item_id!r} has {len(failure.reason)} characters; "
            f"1 to {MAX_REASON_CHARACTERS} are permitted"
        )
    size = len(failure.message.encode())
    if size > MAX_MESSAGE_BYTES:
        raise InvalidRequest(
            f"the message of a failure of item {item_id!r} has {size} bytes; the limit is "
            f"{MAX_MESSAGE_BYTES}"
        )
    if not 0 <= failure.time <= MAX_TIME:
        raise InvalidRequest(
            f"the time of a failure of item {item_id!r} must be in the years 1970 to 9999"
        )


def _check_predictions(serving: Serving, predictions: Vector) -> None:
    model = serving.model
    if not len(predictions):
        raise DimensionMismatch(f"the predictions of model {serving.name!r} are empty")
    expected = len(predictions) if model is None else model.folder.conf.prediction_dim
    if len(predictions) != expected:
        raise DimensionMismatch(
            f"model {serving.name!r} makes {expected} predictions, not {len(predictions)}"
        )
    finite = np.isfinite(predictions)
    if not finite.all():
        place = int(np.flatnonzero(~finite)[0])
        raise InvalidRequest(
            f"the predictions of model {serving.name!r} have {predictions[place]} at position "
            f"{place}; all values must be finite"
        )
