"""The client's values from the messages of the server's replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from euclidesdb import _arrays as arrays
from euclidesdb import _payloads as payloads
from euclidesdb._neighbors import FusedNeighbor, FusedNeighbors, Neighbors, Results
from euclidesdb._search_options import detail_columns, returns_attributes
from euclidesdb._states import states_of
from euclidesdb._types import Embedding, IndexInfo, Item, ModelInfo
from euclidesdb_protos.v1 import database_pb2 as pb

_STATES: Final = {
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_READY: "ready",
    pb.MODEL_STATE_RESTARTING: "restarting",
    pb.MODEL_STATE_QUARANTINED: "quarantined",
    pb.MODEL_STATE_UNLOADED: "unloaded",
    pb.MODEL_STATE_SUPERSEDED: "superseded",
}


def embedding(message: pb.Embedding) -> Embedding:
    """The value of an Embedding message; an unset array becomes None."""
    return Embedding(
        model=message.model,
        fingerprint=message.fingerprint,
        vector=arrays.read_vector(message.vector) if message.HasField("vector") else None,
        predictions=(
            arrays.read_vector(message.predictions) if message.HasField("predictions") else None
        ),
    )


def item(message: pb.Item, *, with_states: bool = False) -> Item:
    """The value of an Item message. with_states: whether its states were requested."""
    return Item(
        id=message.id,
        attributes=parsed_attributes(message.attributes_json),
        metadata=message.metadata,
        embeddings=tuple(map(embedding, message.embeddings)),
        states=states_of(message.states) if with_states else None,
        **payloads.read(message.payload),
    )


def results(reply: pb.FindSimilarReply, request: pb.FindSimilarRequest) -> Results:
    """The value of a FindSimilarReply message, as far as the request wants it."""
    found = Results((answer.model, neighbors(answer, request)) for answer in reply.answers)
    if request.options.fuse:
        with_attributes = returns_attributes(request)
        found.fused = FusedNeighbors(
            FusedNeighbor(
                each.id,
                each.score,
                parsed_attributes(each.attributes_json) if with_attributes else None,
                each.metadata if request.include_metadata else None,
            )
            for each in reply.fused
        )
    return found


def neighbors(message: pb.ModelAnswer, request: pb.FindSimilarRequest) -> Neighbors:
    """The value of a ModelAnswer message, as far as the request wants it."""
    # Lists, not generators: every search runs this code.
    found = list(message.neighbors)
    distances = np.array([neighbor.distance for neighbor in found], dtype=np.float32)
    distances.setflags(write=False)
    details: Mapping[str, Any] = {}
    if request.HasField("options"):
        details = detail_columns([neighbor.details for neighbor in found], request.options)
    return Neighbors(
        message.model,
        message.fingerprint,
        message.metric,
        tuple([neighbor.id for neighbor in found]),
        distances,
        tuple([parsed_attributes(neighbor.attributes_json) for neighbor in found])
        if returns_attributes(request)
        else None,
        tuple([neighbor.metadata for neighbor in found]) if request.include_metadata else None,
        **details,
    )


def model_info(message: pb.Model) -> ModelInfo:
    """The value of a Model message; a state that only a newer server knows is "unknown"."""
    return ModelInfo(
        name=message.name,
        state=_STATES.get(message.state, "unknown"),
        reason=message.reason,
        input=message.input,
        feature_dim=message.feature_dim,
        prediction_dim=message.prediction_dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        metric=message.metric,
        items=message.items,
        labels=tuple(message.labels),
        adopted=message.adopted,
        index=_index_info(message.index) if message.HasField("index") else None,
        items_run=message.items_run,
        batches_run=message.batches_run,
        disk_bytes=message.disk_bytes,
    )


def _index_info(message: pb.Index) -> IndexInfo:
    return IndexInfo(
        description=message.description,
        indexed_rows=message.indexed_rows,
        unindexed_rows=message.unindexed_rows,
        segments=message.segments,
        building=message.building,
        verifying=message.verifying,
        failure=message.failure,
        recall=message.recall if message.HasField("recall") else None,
        recall_samples=message.recall_samples,
    )


def parsed_attributes(attributes_json: str) -> Mapping[str, Any]:
    """The JSON object in a reply; an unset one is empty."""
    attributes: Mapping[str, Any] = json.loads(attributes_json) if attributes_json else {}
    return attributes
