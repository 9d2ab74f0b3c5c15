"""Adds and gets whose reply would be too large are refused with that reason; nothing is done."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

MAX_REPLY_BYTES = 1024
BYTES_PER_ITEM = 60  # 48 of vector and 12 of predictions
TOO_MANY = MAX_REPLY_BYTES // BYTES_PER_ITEM + 1


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reply-sizes")
    save_model(folder / "models", "tiny")
    save_vector_space(folder / "models", "wide", feature_dim=MAX_REPLY_BYTES // 4 + 1)
    limit = {"max_reply_bytes": MAX_REPLY_BYTES}
    with start_server(folder / "data", folder / "models", server=limit) as server:
        yield server


@pytest.fixture
def client(server):
    with euclidesdb.Client(server.address) as client:
        yield client


def items(count, **include):
    return [
        pb.AddItemRequest(
            id=f"item {number}",
            payload=pb.Payload(image=encoded(noise(number))),
            models=["tiny"],
            **include,
        )
        for number in range(count)
    ]


def test_an_add_whose_reply_would_be_too_large_runs_and_writes_nothing(server, client):
    both = {"include_vectors": True, "include_predictions": True}
    with Stubs(server.address) as stubs:
        refused = refusal(stubs.v1.AddItems, pb.AddItemsRequest(items=items(TOO_MANY, **both)))
        assert (refused.status, refused.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "reply_too_large",
        )
        assert "max_reply_bytes permits 1,024 in one reply: nothing was added" in refused.message
        assert [(model.items, model.items_run) for model in client.models()] == [(0, 0), (0, 0)]
        fewer = stubs.v1.AddItems(pb.AddItemsRequest(items=items(TOO_MANY - 1, **both)))
        assert not fewer.refused
        first = fewer.items[0].embeddings[0]
        assert len(first.vector.data) + len(first.predictions.data) == BYTES_PER_ITEM
        without = stubs.v1.AddItems(pb.AddItemsRequest(items=items(TOO_MANY)))
        assert not without.refused


def test_an_item_that_is_refused_for_another_reason_does_not_count(server):
    request = items(TOO_MANY, include_vectors=True, include_predictions=True)
    del request[0].models[:]
    request[0].models.append("unknown")
    with Stubs(server.address) as stubs:
        reply = stubs.v1.AddItems(pb.AddItemsRequest(items=request))
    assert [refusal.reason for refusal in reply.refused] == ["unknown_model"]


def test_a_vector_longer_than_a_reply_is_added_without_its_return(client):
    vectors = {"wide": np.ones(MAX_REPLY_BYTES // 4 + 1)}
    with pytest.raises(euclidesdb.ReplyTooLarge, match="the reply has 1,028 bytes"):
        client.add("wide", vectors=vectors, include_vectors=True)
    with pytest.raises(euclidesdb.UnknownItem):
        client.get("wide")
    (embedding,) = client.add("wide", vectors=vectors)
    assert embedding.vector is None
    with pytest.raises(euclidesdb.ReplyTooLarge, match="in separate calls"):
        client.get("wide", include_vectors=True)
    assert client.get("wide", include_predictions=True).models == ("wide",)


def test_a_single_item_whose_parts_are_too_large_together_is_got_in_parts(client):
    image = encoded(noise(5))
    image += bytes(MAX_REPLY_BYTES - 50 - len(image))
    client.add("large", image=image, models=["tiny"], metadata=bytes(2 * MAX_REPLY_BYTES))
    with pytest.raises(euclidesdb.ReplyTooLarge, match="1,024 in one reply: get the payload, "):
        client.get("large", include_payload=True, include_vectors=True, include_predictions=True)
    assert client.get("large", include_payload=True, include_vectors=True).image == image
    (embedding,) = client.get("large", include_vectors=True, include_predictions=True).embeddings
    assert embedding.vector is not None
    assert embedding.vector.shape == (12,)
