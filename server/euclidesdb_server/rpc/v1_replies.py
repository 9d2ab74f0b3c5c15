"""The results of the database as messages of the v1 API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.database.results import (
    Item,
    ModelAnswer,
    ModelAnswers,
    ModelStatus,
    Neighbors,
    Removal,
    StoredEmbedding,
    Written,
)
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.rpc import payloads
from euclidesdb_server.rpc.arrays import float32_array
from euclidesdb_server.rpc.status import details_of, status_of
from euclidesdb_server.rpc.v1_details import details_message
from euclidesdb_server.rpc.v1_states import failure_messages, state_message
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.status import IndexStatus, ModelState

_ItemsRequest: TypeAlias = (
    pb.GetItemRequest | pb.GetItemsRequest | pb.ListItemsRequest | pb.SampleItemsRequest
)

STATES: Final = {
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.RESTARTING: pb.MODEL_STATE_RESTARTING,
    ModelState.QUARANTINED: pb.MODEL_STATE_QUARANTINED,
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.SUPERSEDED: pb.MODEL_STATE_SUPERSEDED,
}


CHANGES: Final = {
    ItemChange.ADDED: pb.ITEM_CHANGE_ADDED,
    ItemChange.REPLACED: pb.ITEM_CHANGE_REPLACED,
    ItemChange.UNCHANGED: pb.ITEM_CHANGE_UNCHANGED,
}


def add_item_reply(request: pb.AddItemRequest, written: Written) -> pb.AddItemReply:
    """What was written, as far as it was requested, and which models failed."""
    return pb.AddItemReply(
        embeddings=_embeddings(written, request),
        failures=failure_messages(written.failures),
        change=CHANGES[written.change],
    )


def add_items_reply(
    request: pb.AddItemsRequest, outcomes: Sequence[Written | DatabaseError]
) -> pb.AddItemsReply:
    """A reply for each item, empty if it was refused, and the refusals."""
    return pb.AddItemsReply(
        items=[
            pb.AddItemReply()
            if isinstance(outcome, DatabaseError)
            else add_item_reply(item, outcome)
            for item, outcome in zip(request.items, outcomes, strict=True)
        ],
        refused=_refusals(enumerate(outcomes)),
    )


def import_items_reply(outcomes: Sequence[ItemChange | DatabaseError]) -> pb.ImportItemsReply:
    """What has changed, and the refusals."""
    return pb.ImportItemsReply(
        refused=_refusals(enumerate(outcomes)), changes=map(_change, outcomes)
    )


def add_item_stream_reply(
    position: int,
    item: AddRequest | DatabaseError,
    outcome: Written | DatabaseError,
) -> pb.AddItemStreamReply:
    """The outcome of an item of a stream."""
    reply = pb.AddItemStreamReply(position=position)
    if isinstance(outcome, DatabaseError):
        reply.refused.CopyFrom(_refusal(position, outcome))
    elif isinstance(item, AddRequest):
        reply.added.embeddings.extend(_embeddings(outcome, item))
        reply.added.failures.extend(failure_messages(outcome.failures))
        reply.added.change = CHANGES[outcome.change]
    return reply


def add_vectors_reply(outcomes: Sequence[ItemChange | DatabaseError]) -> pb.AddVectorsReply:
    """What has changed, and the refusals."""
    return pb.AddVectorsReply(
        refused=_refusals(enumerate(outcomes)), changes=map(_change, outcomes)
    )


def get_item_reply(request: pb.GetItemRequest, item: Item) -> pb.GetItemReply:
    """A stored item, as far as it was requested."""
    return pb.GetItemReply(item=_item(request, item))


def get_items_reply(
    request: pb.GetItemsRequest, outcomes: Sequence[Item | DatabaseError | None]
) -> pb.GetItemsReply:
    """Those items that are stored, the positions of the others, and the refusals."""
    return pb.GetItemsReply(
        items=[_item(request, outcome) for outcome in outcomes if isinstance(outcome, Item)],
        missing=[position for position, outcome in enumerate(outcomes) if outcome is None],
        refused=_refusals(enumerate(outcomes)),
    )


def found_items(
    request: pb.ListItemsRequest | pb.SampleItemsRequest,
    ids: Sequence[str],
    outcomes: Sequence[Item | DatabaseError | None],
) -> tuple[list[pb.Item], list[pb.Refusal]]:
    """The items with some ids, and why some could not be read, by position among them.

    Of these there is only the id. Items that are not stored any more are left out.
    """
    there = [pair for pair in zip(ids, outcomes, strict=True) if pair[1] is not None]
    items = [
        _item(request, outcome) if isinstance(outcome, Item) else pb.Item(id=item_id)
        for item_id, outcome in there
    ]
    return items, _refusals(enumerate(outcome for _, outcome in there))


def remove_items_reply(removal: Removal) -> pb.RemoveItemsReply:
    """What became of a removal."""
    return pb.RemoveItemsReply(
        removed=removal.removed,
        missing=removal.missing,
        refused=_refusals(removal.errors.items()),
    )


def find_reply(answers: ModelAnswers) -> pb.FindSimilarReply:
    """The answers to one query. Raises the error if one of them failed."""
    reply = pb.FindSimilarReply()
    for answer in answers:
        message = reply.answers.add(
            model=answer.model, fingerprint=answer.fingerprint, metric=str(answer.metric)
        )
        _add_neighbors(message, answer.neighbors)
    for neighbor in answers.fused:
        reply.fused.add(
            id=neighbor.id,
            score=neighbor.score,
            attributes_json=neighbor.attributes_json,
            metadata=neighbor.metadata,
        )
    return reply


def batch_find_reply(answers: Sequence[ModelAnswer]) -> pb.FindSimilarBatchReply:
    """The answers to many queries, by columns."""
    return pb.FindSimilarBatchReply(
        answers=[
            pb.BatchAnswer(
                model=answer.model,
                fingerprint=answer.fingerprint,
                metric=str(answer.metric),
                counts=answer.answers.counts,
                ids=answer.answers.neighbors.ids,
                distances=answer.answers.neighbors.distances,
                attributes_json=answer.answers.neighbors.attributes_json,
                metadata=answer.answers.neighbors.metadata,
                refused=_refusals(answer.answers.errors.items()),
                details=map(details_message, answer.answers.neighbors.details or ()),
            )
            for answer in answers
        ]
    )


def model_message(status: ModelStatus) -> pb.Model:
    """The state of a model."""
    return pb.Model(
        name=_unicode(status.name),
        state=STATES[status.state],
        reason=_unicode(status.reason),
        input=status.input,
        feature_dim=status.feature_dim,
        prediction_dim=status.prediction_dim,
        fingerprint=status.fingerprint,
        engine=status.engine,
        metric=status.metric,
        items=status.items,
        labels=status.labels,
        adopted=status.adopted,
        index=None if status.index is None else _index(status.index),
        items_run=status.items_run,
        batches_run=status.batches_run,
        disk_bytes=status.disk_bytes,
    )


def _unicode(text: str) -> str:
    """`text` with escapes for the bytes of a file's name that are not UTF-8: messages hold none."""
    return text.encode(errors="backslashreplace").decode()


def _refusals(outcomes: Iterable[tuple[int, object]]) -> list[pb.Refusal]:
    """Why items or queries were refused, by position; other outcomes are left out."""
    return [
        _refusal(position, error)
        for position, error in outcomes
        if isinstance(error, DatabaseError)
    ]


def _refusal(position: int, error: DatabaseError) -> pb.Refusal:
    return pb.Refusal(
        position=position,
        code=status_of(error).value[0],
        reason=error.reason,
        message=details_of(error),
    )


def _change(outcome: ItemChange | DatabaseError) -> pb.ItemChange:
    if isinstance(outcome, DatabaseError):
        return pb.ITEM_CHANGE_UNSPECIFIED
    return CHANGES[outcome]


def _index(status: IndexStatus) -> pb.Index:
    return pb.Index(
        description=status.description,
        indexed_rows=status.indexed_rows,
        unindexed_rows=status.unindexed_rows,
        segments=status.segments,
        building=status.building,
        verifying=status.verifying,
        failure=_unicode(status.failure),
        recall=status.recall,
        recall_samples=status.recall_samples,
    )


def _item(request: _ItemsRequest, item: Item) -> pb.Item:
    message = pb.Item(
        id=item.id,
        attributes_json=item.attributes_json,
        metadata=item.metadata,
        embeddings=_embeddings(item.embeddings, request),
        states=map(state_message, item.states or ()),
    )
    if item.payload is not None:
        message.payload.CopyFrom(payloads.message_of(item.payload))
    return message


def _embeddings(
    embeddings: Sequence[StoredEmbedding],
    request: pb.AddItemRequest | _ItemsRequest | AddRequest,
) -> list[pb.Embedding]:
    messages = []
    for embedding in embeddings:
        message = pb.Embedding(model=embedding.model, fingerprint=embedding.fingerprint)
        if request.include_vectors and embedding.vector is not None:
            message.vector.CopyFrom(float32_array(embedding.vector))
        if request.include_predictions and embedding.predictions is not None:
            message.predictions.CopyFrom(float32_array(embedding.predictions))
        messages.append(message)
    return messages


def _add_neighbors(answer: pb.ModelAnswer, found: Neighbors) -> None:
    # made in place and assigned, a neighbor takes less than half the time of one that is
    # constructed and then copied into the answer
    add = answer.neighbors.add
    for item_id, distance in zip(found.ids, found.distances, strict=True):
        message = add()
        message.id = item_id
        message.distance = distance
    if found.attributes_json is not None:
        for message, attributes_json in zip(answer.neighbors, found.attributes_json, strict=True):
            message.attributes_json = attributes_json
    if found.metadata is not None:
        for message, metadata in zip(answer.neighbors, found.metadata, strict=True):
            message.metadata = metadata
    if found.details is not None:
        for message, details in zip(answer.neighbors, found.details, strict=True):
            message.details.CopyFrom(details_message(details))
