"""GetItems, UpdateItem and RemoveItems as a raw client sees them."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server

IMAGE = encoded(noise(1))
TEXTS: dict[str, Any] = {"attributes_json": '{"price": 10, "size": {"width": 1}}', "metadata": b"m"}
TOO_MANY = ["a"] * 100_001


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("item-calls")
    save_model(folder / "models", "tiny", worker="shared")
    limits = {"max_reply_bytes": 4096}
    with start_server(folder / "data", folder / "models", server=limits) as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


@pytest.fixture
def items(stubs):
    """The items "embedded" and "a" to "c", which have a ready-made vector."""
    image = pb.Payload(image=IMAGE)
    stubs.v1.AddItem(pb.AddItemRequest(id="embedded", payload=image, models=["tiny"], **TEXTS))
    ones = np.ones(12, "<f4")
    array = pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[12], data=ones.tobytes())
    for item_id in "abc":
        vectors = {"tiny": pb.Vector(values=array)}
        stubs.v1.AddItem(pb.AddItemRequest(id=item_id, vectors=vectors, **TEXTS))
    return stubs


def test_many_items_are_those_of_single_calls(items):
    include = {"include_vectors": True, "include_predictions": True, "include_payload": True}
    ids = ["b", "nobody", "embedded", "b", "x" * 513]
    reply = items.v1.GetItems(pb.GetItemsRequest(ids=ids, **include))
    assert [item.id for item in reply.items] == ["b", "embedded", "b"]
    assert [*reply.missing] == [1]
    assert [(each.position, each.reason) for each in reply.refused] == [(4, "invalid_request")]
    for item in reply.items:
        assert item == items.v1.GetItem(pb.GetItemRequest(id=item.id, **include)).item
    assert reply.items[1].payload.image == IMAGE
    (plain,) = items.v1.GetItems(pb.GetItemsRequest(ids=["embedded"])).items
    assert not plain.HasField("payload")
    assert not plain.embeddings[0].HasField("vector")


def test_a_reply_with_too_many_items_is_refused(items):
    request = pb.GetItemsRequest(ids=["a"] * 100)
    refused = refusal(items.v1.GetItems, request)
    assert (refused.status, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT, "reply_too_large",
    )  # fmt: skip
    assert "get fewer items" in refused.message
    reply = items.v1.GetItems(pb.GetItemsRequest(ids=["a"] * 30))
    assert len(reply.items) == 30
    assert reply.ByteSize() < 4096


def test_an_update_changes_attributes_and_metadata_alone(items):
    update = items.v1.UpdateItem
    merged = update(pb.UpdateItemRequest(id="embedded", merge_json='{"price": 9, "new": null}'))
    assert merged.attributes_json == '{"price":9,"size":{"width": 1}}'
    without = update(pb.UpdateItemRequest(id="embedded", remove_attributes=["size.width"]))
    assert without.attributes_json == '{"price":9,"size":{}}'
    replaced = update(pb.UpdateItemRequest(id="embedded", attributes_json="{}", metadata=b""))
    assert replaced.attributes_json == "{}"
    item = items.v1.GetItem(pb.GetItemRequest(id="embedded", include_payload=True)).item
    assert (item.attributes_json, item.metadata, item.payload.image) == ("{}", b"", IMAGE)
    before = items.v1.ListModels(pb.ListModelsRequest()).models[0].items_run
    update(pb.UpdateItemRequest(id="embedded", metadata=b"m"))
    assert items.v1.ListModels(pb.ListModelsRequest()).models[0].items_run == before


def test_many_items_are_removed_at_once(items):
    ids = ["a", "nobody", "b", "a", ""]
    dry = items.v1.RemoveItems(pb.RemoveItemsRequest(ids=ids, dry_run=True))
    assert (dry.removed, [*dry.missing]) == (2, [1])
    assert [(each.position, each.reason) for each in dry.refused] == [(4, "invalid_request")]
    assert len(items.v1.GetItems(pb.GetItemsRequest(ids=["a", "b"])).items) == 2
    assert items.v1.RemoveItems(pb.RemoveItemsRequest(ids=ids)) == dry
    again = items.v1.RemoveItems(pb.RemoveItemsRequest(ids=ids))
    assert (again.removed, [*again.missing]) == (0, [0, 1, 2, 3])
    found = items.v1.FindSimilar(
        pb.FindSimilarRequest(query=pb.Query(id="embedded"), models=["tiny"], top_k=10)
    )
    assert [each.id for each in found.answers[0].neighbors] == ["c"]


@pytest.mark.usefixtures("items")
def test_the_python_client_makes_these_calls(server):
    with euclidesdb.Client(server.address) as db:
        assert db.update("b", merge={"price": 1.5}) == {"price": 1.5, "size": {"width": 1}}
        found = db.get_many(["c", "nobody", "b", ""], include_vectors=True)
        assert [*found] == ["c", "b"]
        assert found["b"].embeddings[0].vector.tolist() == [1] * 12
        assert (found.missing, found.refused[0].reason) == (("nobody",), "invalid_request")
        assert (db.exists("b"), db.exists("nobody")) == (True, False)
        assert db.remove_many(["b", "nobody"], dry_run=True) == euclidesdb.Removal(1, ("nobody",))
        assert len(db.get_many(["a", *"abc" * 50, "embedded"], include_payload=True)) == 4
        assert db.remove_many(["b", "nobody"]).removed == 1
        assert not db.exists("b")
        with pytest.raises(euclidesdb.UnknownItem):
            db.update("b", metadata=b"")


# method, request, status, reason, and what the message must name
ODD = {
    "no ids to get": ("GetItems", pb.GetItemsRequest(),
                      "INVALID_ARGUMENT", "invalid_request", "ids is empty"),
    "too many ids to get": ("GetItems", pb.GetItemsRequest(ids=TOO_MANY),
                            "INVALID_ARGUMENT", "invalid_request", "the limit is 100,000"),
    "no ids to remove": ("RemoveItems", pb.RemoveItemsRequest(),
                         "INVALID_ARGUMENT", "invalid_request", "ids is empty"),
    "too many ids to remove": ("RemoveItems", pb.RemoveItemsRequest(ids=TOO_MANY),
                               "INVALID_ARGUMENT", "invalid_request", "the limit is 100,000"),
    "an update of nothing": ("UpdateItem", pb.UpdateItemRequest(id="embedded"),
                             "INVALID_ARGUMENT", "invalid_request", "nothing to change"),
    "an update of an unknown item": ("UpdateItem", pb.UpdateItemRequest(id="x", metadata=b""),
                                     "NOT_FOUND", "unknown_item", "'x'"),
    "an update to NaN": ("UpdateItem", pb.UpdateItemRequest(id="c", merge_json='{"a": NaN}'),
                         "INVALID_ARGUMENT", "invalid_request", "NaN"),
    "an update in two ways": (
        "UpdateItem", pb.UpdateItemRequest(id="c", merge_json="{}", attributes_json="{}"),
        "INVALID_ARGUMENT", "invalid_request", "both set"),
    "an update that becomes too large": (
        "UpdateItem", pb.UpdateItemRequest(id="c", merge_json=f'{{"a": "{"x" * 65_500}"}}'),
        "INVALID_ARGUMENT", "invalid_request", "max_attributes_bytes"),
}  # fmt: skip


@each_as_subtest(("method", "request_", "status", "reason", "named"), ODD.values(), ids=ODD)
def test_an_odd_request_is_refused_clearly(items, method, request_, status, reason, named):
    refused = refusal(getattr(items.v1, method), request_)
    assert (refused.status.name, refused.reason) == (status, reason)
    assert named in refused.message
