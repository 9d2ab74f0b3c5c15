"""`update`, `get_many`, `exists` and `remove_many`: what they send, and make of the replies."""

from __future__ import annotations

import copy
import pickle

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault

TOO_LARGE = Fault(grpc.StatusCode.INVALID_ARGUMENT, "reply_too_large", "the reply is too large")


def corrupt(position):
    code = grpc.StatusCode.DATA_LOSS.value[0]
    return pb.Refusal(position=position, code=code, reason="corrupt_record", message="damaged")


def stored(request):
    """Finds all items."""
    return pb.GetItemsReply(items=[pb.Item(id=each, attributes_json="{}") for each in request.ids])


def test_an_update_sends_what_it_is_given(db, server):
    server.script("UpdateItem", pb.UpdateItemReply(attributes_json='{"price": 9}'))
    merge = {"price": np.int64(9), "size": {"width": None}}
    assert db.update("a", merge=merge, remove=["b", "c.d"], metadata=b"m") == {"price": 9}
    db.update("a", attributes={})
    db.update("a", metadata=b"")
    assert server.requests["UpdateItem"] == [
        pb.UpdateItemRequest(
            id="a",
            merge_json='{"price": 9, "size": {"width": null}}',
            remove_attributes=["b", "c.d"],
            metadata=b"m",
        ),
        pb.UpdateItemRequest(id="a", attributes_json="{}"),
        pb.UpdateItemRequest(id="a", metadata=b""),
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "nothing to change"),
        ({"remove": []}, ValueError, "nothing to change"),
        ({"attributes": {}, "merge": {}}, ValueError, "not both"),
        ({"attributes": {}, "remove": ["a"]}, ValueError, "not both"),
        ({"remove": "price"}, TypeError, r"remove must be a sequence of names: \['price'\]"),
        ({"remove": [1]}, TypeError, r"remove\[0\] must be a str"),
        ({"merge": {"x": {1}}}, TypeError, r"merge of 'a' must hold JSON values"),
        ({"merge": {1: 2}}, TypeError, "merge of 'a' must have keys of type str"),
        ({"attributes": [1]}, TypeError, "attributes of 'a' must be a mapping"),
        ({"metadata": "text"}, TypeError, "metadata of 'a' must be bytes"),
    ],
)
def test_an_update_that_cannot_be_sent_is_not(db, server, arguments, error, message):
    with pytest.raises(error, match=message):
        db.update("a", **arguments)
    assert server.calls("UpdateItem") == 0


def test_many_items_are_a_mapping_in_the_order_of_the_ids(db, server):
    server.script(
        "GetItems",
        pb.GetItemsReply(
            items=[pb.Item(id="b", attributes_json='{"n": 1}', metadata=b"m"), pb.Item(id="a")],
            missing=[1],
            refused=[corrupt(3)],
        ),
    )
    items = db.get_many(["b", "nobody", "a", "damaged", "b"], include_vectors=True)
    assert server.requests["GetItems"] == [
        pb.GetItemsRequest(ids=["b", "nobody", "a", "damaged"], include_vectors=True)
    ]
    assert [*items] == ["b", "a"]
    assert (items["b"].attributes, items["b"].metadata) == ({"n": 1}, b"m")
    assert items.missing == ("nobody",)
    (refused,) = items.refused
    assert (refused.position, refused.id, refused.reason) == (3, "damaged", "corrupt_record")
    with pytest.raises(euclidesdb.CorruptRecord, match="damaged"):
        items["damaged"]
    with pytest.raises(KeyError):
        items["nobody"]
    assert items.get("nobody") is None
    assert ("a" in items, "damaged" in items, "nobody" in items) == (True, False, False)
    assert repr(items).startswith("2 items, 1 missing, 1 refused:")
    for way in (copy.copy, lambda each: pickle.loads(pickle.dumps(each))):
        same = way(items)
        assert ([*same], same.missing, same["b"].metadata) == (["b", "a"], ("nobody",), b"m")


def test_many_items_are_got_in_calls_of_bounded_size(db, server):
    server.script("GetItems", stored)
    ids = [f"{number}" for number in range(2500)]
    assert [*db.get_many(iter(ids))] == ids
    assert [len(request.ids) for request in server.requests["GetItems"]] == [1024, 1024, 452]
    server.requests.clear()
    assert [*db.get_many(ids[:100], include_payload=True)] == ids[:100]
    assert [len(request.ids) for request in server.requests["GetItems"]] == [64, 36]
    assert 100 < server.seconds_left["GetItems"] < 210
    assert len(db.get_many([])) == 0
    assert server.calls("GetItems") == 2


def test_a_call_whose_reply_would_be_too_large_is_split(db, server):
    def at_most_three(request):
        if len(request.ids) > 3 or "huge" in request.ids:
            return TOO_LARGE
        return stored(request)

    server.script("GetItems", at_most_three)
    ids = ["a", "b", "c", "huge", "d", "e", "f", "g", "h"]
    items = db.get_many(ids)
    assert [*items] == ["a", "b", "c", "d", "e", "f", "g", "h"]
    (refused,) = items.refused
    assert (refused.position, type(refused.error)) == (3, euclidesdb.ReplyTooLarge)


@pytest.mark.parametrize(
    "reply",
    [
        pb.GetItemsReply(),
        pb.GetItemsReply(items=[pb.Item(), pb.Item()]),
        pb.GetItemsReply(missing=[1]),
        pb.GetItemsReply(refused=[corrupt(-1)]),
    ],
    ids=str,
)
def test_a_reply_that_does_not_match_its_request_is_an_error_of_the_server(db, server, reply):
    server.script("GetItems", reply)
    with pytest.raises(euclidesdb.ServerError, match="the reply"):
        db.get_many(["a"])


def test_whether_an_item_exists(db, server):
    server.script("GetItems", stored, pb.GetItemsReply(missing=[0]))
    assert (db.exists("a"), db.exists("a")) == (True, False)
    server.script("GetItems", pb.GetItemsReply(refused=[corrupt(0)]))
    with pytest.raises(euclidesdb.CorruptRecord):
        db.exists("a")
    with pytest.raises(TypeError, match="id must be a str, an int or"):
        db.exists(True)


def test_many_items_are_removed_in_calls_of_bounded_size(db, server):
    server.script(
        "RemoveItems",
        pb.RemoveItemsReply(removed=9998, missing=[1], refused=[corrupt(0)]),
        pb.RemoveItemsReply(removed=1, missing=[0]),
    )
    ids = [f"{number}" for number in range(10_002)]
    removal = db.remove_many([*ids, "0"], dry_run=True)
    assert (removal.removed, removal.missing) == (9999, ("1", "10000"))
    (refused,) = removal.refused
    assert (refused.position, refused.id, type(refused.error)) == (0, "0", euclidesdb.CorruptRecord)
    sent = server.requests["RemoveItems"]
    assert [(len(request.ids), request.dry_run) for request in sent] == [(10_000, True), (2, True)]
    assert db.remove_many([]) == euclidesdb.Removal(0)
    assert server.calls("RemoveItems") == 2


def test_a_removal_in_doubt_is_not_reported_as_refused(db, server):
    refusal = pb.Refusal(position=1, code=13, reason="write_in_doubt", message="it may be removed")
    server.script("RemoveItems", pb.RemoveItemsReply(removed=1, refused=[refusal]))
    with pytest.raises(euclidesdb.WriteInDoubt, match="it may be removed"):
        db.remove_many(["a", "b"])


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.get_many("abc"),
        lambda db: db.remove_many("abc"),
        lambda db: db.get_many(["a", 5.0]),
        lambda db: db.remove_many(["a"], dry_run="no"),
        lambda db: db.get_many(["a"], include_vectors="no"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_before_anything_is_sent(db, server, call):
    with pytest.raises(TypeError):
        call(db)
    assert not any(server.requests.values())
