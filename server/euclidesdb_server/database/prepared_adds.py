"""Items on their way from a request to the writer."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from euclidesdb_server.database.embedder import EmbedTask, Outputs, all_made
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.database.results import ItemFailure, StoredEmbedding, Written
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.errors import DatabaseError, ModelFailed
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import request_digest
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.item_change import ItemChange


class PreparedAdd(msgspec.Struct, frozen=True):
    """An item to add, checked.

    known: vectors found in the store, made from the same payload. task: the models to run on the
    payload; None if no model has to be run.
    """

    request: AddRequest
    ready_made: Mapping[ModelSpace, Embedding]
    known: Mapping[ModelSpace, Embedding]
    task: EmbedTask | None

    def embedded(self, outputs: Outputs | DatabaseError) -> EmbeddedItem | DatabaseError:
        """With the outputs of the models that had to be run, or the error of one of them."""
        request = self.request
        if request.all_or_nothing:
            outputs = all_made(outputs)
        if isinstance(outputs, DatabaseError):
            return outputs
        servings = () if self.task is None else self.task.servings
        made: dict[ModelSpace, Embedding] = {}
        failures: dict[ModelSpace, Failure] = {}
        for serving, output in zip(servings, outputs, strict=True):
            space = serving.writable_space()
            if isinstance(output, ModelFailed):
                failures[space] = failure_of(output)
            else:
                made[space] = output
        return EmbeddedItem(
            request.id,
            {**self.ready_made, **self.known, **made},
            request.payload,
            request.attributes_json,
            request.metadata,
            frozenset(self.ready_made),
            frozenset(self.known),
            failures=failures,
            request=digest_of(request.request_key, "add", request.id),
        )


def digest_of(key: bytes, kind: str, item_id: str) -> bytes | None:
    """What the writer remembers of a request; None if it has no key."""
    return request_digest(key, kind, item_id) if key else None


def failure_of(error: ModelFailed) -> Failure:
    """What is stored of a failure, as of now."""
    return Failure.now(error.failure_reason.value, str(error))


def written_item(
    item: EmbeddedItem | DatabaseError, change: ItemChange | DatabaseError
) -> Written | DatabaseError:
    """What an add returns of an item, or why it has not been added."""
    if isinstance(item, DatabaseError):
        return item
    if isinstance(change, DatabaseError):
        return change
    written = Written(
        StoredEmbedding(
            space.record.model, space.record.fingerprint, found.vector, found.predictions
        )
        for space, found in item.embeddings.items()
    )
    written.change = change
    if item.failures:
        written.failures = tuple(
            ItemFailure(space.record.model, space.record.fingerprint, failure)
            for space, failure in item.failures.items()
        )
    return written
