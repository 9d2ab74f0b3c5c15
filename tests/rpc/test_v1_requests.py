"""The v1 service and the requests it gets: odd ones are served, hostile ones refused clearly."""

from __future__ import annotations

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

STATUS = grpc.StatusCode
LIMIT = 1 << 20
IMAGE = encoded(noise(1))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("models-of-v1")
    save_model(models, "tiny", worker="shared", labels="red\n green\n blue")
    save_model(models, "gray", worker="shared", image_mode="L", feature_dim=4)
    save_model(models, "liar", worker="shared", feature_dim=512)
    (save_model(models, "garbage", worker="shared") / "program.pt").write_bytes(b"no archive")
    (models / "empty").mkdir()
    data = tmp_path_factory.mktemp("data-of-v1")
    limits = {"max_message_bytes": LIMIT, "max_reply_bytes": LIMIT // 2}
    with start_server(data, models, server=limits) as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


@pytest.fixture(scope="module")
def client(server):
    with euclidesdb.Client(server.address) as client:
        client.add("stored", image=IMAGE, models=["tiny"])
        yield client


def array(values, data_type=pb.DATA_TYPE_FLOAT32, shape=None):
    values = np.asarray(values, "<f4")
    shape = values.shape if shape is None else shape
    return pb.Array(data_type=data_type, shape=shape, data=values.tobytes())


def add(item_id="refused", **fields):
    fields.setdefault("vectors", {"tiny": pb.Vector(values=array(np.ones(12)))})
    return pb.AddItemRequest(id=item_id, **fields)


def add_vector(values, **fields):
    return add(vectors={"tiny": pb.Vector(values=values, **fields)})


def find(query, models=("tiny",), top_k=1):
    return pb.FindSimilarRequest(query=query, models=models, top_k=top_k)


def of_image(image=IMAGE):
    return pb.Query(payload=pb.Payload(image=image))


def of_vector(values):
    return pb.Query(vector=pb.Vector(values=values))


STORED = pb.Query(id="stored")
WITH_INFINITY = np.array([1] * 11 + [np.inf])
WITH_NAN = np.array([np.nan] + [1] * 11)

# method, request, status, reason, and what the message must name
HOSTILE = {
    "no query": ("FindSimilar", pb.FindSimilarRequest(models=["tiny"], top_k=1),
                 "INVALID_ARGUMENT", "invalid_request", "query"),
    "a query by payload of no kind": ("FindSimilar", find(pb.Query(payload=pb.Payload())),
                                      "INVALID_ARGUMENT", "invalid_request", "payload"),
    "a query by an empty id": ("FindSimilar", find(pb.Query(id="")),
                               "INVALID_ARGUMENT", "invalid_request", "1 to 512"),
    "a query by an unknown id": ("FindSimilar", find(pb.Query(id="nobody")),
                                 "NOT_FOUND", "unknown_item", "nobody"),
    "a query by an item without a vector of the model": (
        "FindSimilar", find(STORED, ["gray"]), "NOT_FOUND", "unknown_item", "gray"),
    "a vector of no array": ("FindSimilar", find(pb.Query(vector=pb.Vector())),
                             "INVALID_ARGUMENT", "invalid_request", "data_type"),
    "a vector for two models": (
        "FindSimilar", find(of_vector(array(np.ones(12))), ["tiny", "gray"]),
        "INVALID_ARGUMENT", "invalid_request", "gray"),
    "top_k 0": ("FindSimilar", find(STORED, top_k=0),
                "INVALID_ARGUMENT", "invalid_request", "top_k = 0"),
    "top_k -1": ("FindSimilar", find(STORED, top_k=-1),
                 "INVALID_ARGUMENT", "invalid_request", "top_k = -1"),
    "top_k too large": ("FindSimilar", find(STORED, top_k=1001),
                        "INVALID_ARGUMENT", "invalid_request", "1000"),
    "top_k of all bits": ("FindSimilar", find(STORED, top_k=2**31 - 1),
                          "INVALID_ARGUMENT", "invalid_request", "1000"),
    "a vector without a model": ("FindSimilar", find(of_vector(array(np.ones(12))), []),
                              "INVALID_ARGUMENT", "invalid_request", "models"),
    "a search of an empty name": ("FindSimilar", find(STORED, [""]),
                                  "NOT_FOUND", "unknown_model", "'gray', 'tiny'"),
    "a search of an unknown model": ("FindSimilar", find(STORED, ["tiny", "tyni"]),
                                     "NOT_FOUND", "unknown_model", "'tyni'"),
    "an image that cannot be decoded": ("FindSimilar", find(of_image(b"<svg/>")),
                              "INVALID_ARGUMENT", "undecodable_input", "image"),
    "an image for a model that cannot be loaded": (
        "FindSimilar", find(of_image(), ["garbage"]),
        "UNAVAILABLE", "model_unavailable", "program.pt"),
    "an image for a folder without a model": (
        "FindSimilar", find(of_image(), ["empty"]),
        "UNAVAILABLE", "model_unavailable", "model.conf"),
    "an image for a model that is not as its model.conf says": (
        "FindSimilar", find(of_image(), ["liar"]), "UNAVAILABLE", "model_unavailable", "512"),
    "a payload of no kind": ("AddItem", add(payload=pb.Payload(), models=["tiny"], vectors={}),
                             "INVALID_ARGUMENT", "invalid_request", "payload"),
    "a payload for no model": ("AddItem", add(payload=pb.Payload(image=IMAGE)),
                               "INVALID_ARGUMENT", "invalid_request", "models"),
    "a payload for an unknown model": (
        "AddItem", add(payload=pb.Payload(image=IMAGE), models=["tyni"], vectors={}),
        "NOT_FOUND", "unknown_model", "'gray', 'tiny'"),
    "models without a payload": ("AddItem", add(models=["tiny"], vectors={}),
                                 "INVALID_ARGUMENT", "invalid_request", "tiny"),
    "nothing to add": ("AddItem", add(vectors={}),
                       "INVALID_ARGUMENT", "invalid_request", "nothing"),
    "a payload and a vector for one model": (
        "AddItem", add(payload=pb.Payload(image=IMAGE), models=["tiny"]),
        "INVALID_ARGUMENT", "invalid_request", "tiny"),
    "a vector of an unknown model": (
        "AddItem", add(vectors={"tyni": pb.Vector(values=array(np.ones(12)))}),
        "NOT_FOUND", "unknown_model", "'gray', 'tiny'"),
    "data_type unset": ("AddItem", add_vector(array(np.ones(12), data_type=0)),
                        "INVALID_ARGUMENT", "invalid_request", "data_type = 0"),
    "data_type unknown": ("AddItem", add_vector(array(np.ones(12), data_type=99)),
                          "INVALID_ARGUMENT", "invalid_request", "data_type = 99"),
    "too short a vector": ("AddItem", add_vector(array(np.ones(11))),
                           "INVALID_ARGUMENT", "dimension_mismatch", "(11,)"),
    "too long a vector": ("AddItem", add_vector(array(np.ones(13))),
                          "INVALID_ARGUMENT", "dimension_mismatch", "(12,)"),
    "a vector of no length": ("AddItem", add_vector(array([])),
                              "INVALID_ARGUMENT", "dimension_mismatch", "(0,)"),
    "a matrix": ("AddItem", add_vector(array(np.ones((1, 12)))),
                 "INVALID_ARGUMENT", "dimension_mismatch", "(1, 12)"),
    "a number": ("AddItem", add_vector(array(1.0)),
                 "INVALID_ARGUMENT", "dimension_mismatch", "()"),
    "data shorter than its shape": ("AddItem", add_vector(array(np.ones(11), shape=[12])),
                                    "INVALID_ARGUMENT", "invalid_request", "44 bytes"),
    "data of half a number": (
        "AddItem",
        add_vector(pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[12], data=b"\0" * 46)),
        "INVALID_ARGUMENT", "invalid_request", "46 bytes"),
    "a negative shape": ("AddItem", add_vector(array(np.ones(12), shape=[-12])),
                         "INVALID_ARGUMENT", "invalid_request", "(-12,)"),
    "a huge shape": ("AddItem", add_vector(array(np.ones(12), shape=[2**63 - 1])),
                     "INVALID_ARGUMENT", "invalid_request", str(2**63 - 1)),
    "a shape that overflows to the data's length": (
        "AddItem", add_vector(array(np.ones(12), shape=[2**62 + 12])),
        "INVALID_ARGUMENT", "invalid_request", "48 bytes"),
    "two negative lengths": ("AddItem", add_vector(array(np.ones(12), shape=[-3, -4])),
                             "INVALID_ARGUMENT", "dimension_mismatch", "(-3, -4)"),
    "an empty array of huge shape": (
        "AddItem", add_vector(array([], shape=[0, 2**63 - 1, 2**63 - 1])),
        "INVALID_ARGUMENT", "dimension_mismatch", "shape"),
    "a shape of a hundred dimensions": (
        "AddItem", add_vector(array(np.ones(12), shape=[12] + [1] * 99)),
        "INVALID_ARGUMENT", "dimension_mismatch", "100 dimensions"),
    # their product has millions of digits: to compute it would hold the server for minutes
    "a shape as long as a message": (
        "AddItem", add_vector(array(np.ones(12), shape=[2**62] * 100_000)),
        "INVALID_ARGUMENT", "dimension_mismatch", "100000 dimensions"),
    "NaN": ("AddItem", add_vector(array(WITH_NAN)),
            "INVALID_ARGUMENT", "invalid_request", "nan at position 0"),
    "infinity": ("AddItem", add_vector(array(WITH_INFINITY)),
                 "INVALID_ARGUMENT", "invalid_request", "inf at position 11"),
    "a search for NaN": ("FindSimilar", find(of_vector(array(WITH_NAN))),
                         "INVALID_ARGUMENT", "invalid_request", "nan"),
    "a vector of another model version": (
        "AddItem", add_vector(array(np.ones(12)), fingerprint="old"),
        "FAILED_PRECONDITION", "version_mismatch", "'old'"),
    "a search by a vector of another model version": (
        "FindSimilar",
        find(pb.Query(vector=pb.Vector(values=array(np.ones(12)), fingerprint="old"))),
        "FAILED_PRECONDITION", "version_mismatch", "'old'"),
    "an empty id": ("AddItem", add(""), "INVALID_ARGUMENT", "invalid_request", "1 to 512"),
    "too long an id": ("AddItem", add("x" * 513), "INVALID_ARGUMENT", "invalid_request", "513"),
    "too long an id in bytes": ("AddItem", add("ü" * 257),
                                "INVALID_ARGUMENT", "invalid_request", "514"),
    "getting too long an id": ("GetItem", pb.GetItemRequest(id="x" * 513),
                               "INVALID_ARGUMENT", "invalid_request", "513"),
    "getting an unknown item": ("GetItem", pb.GetItemRequest(id="nobody"),
                                "NOT_FOUND", "unknown_item", "nobody"),
    "removing an empty id": ("RemoveItem", pb.RemoveItemRequest(),
                             "INVALID_ARGUMENT", "invalid_request", "1 to 512"),
    "removing an unknown item": ("RemoveItem", pb.RemoveItemRequest(id="nobody"),
                                 "NOT_FOUND", "unknown_item", "nobody"),
    "attributes that are an array": ("AddItem", add(attributes_json="[1]"),
                                     "INVALID_ARGUMENT", "invalid_request", "[1]"),
    "attributes of nothing": ("AddItem", add(attributes_json=""),
                              "INVALID_ARGUMENT", "invalid_request", "JSON"),
    "attributes that are garbage": ("AddItem", add(attributes_json="{'a': 1}"),
                                    "INVALID_ARGUMENT", "invalid_request", "JSON"),
    "attributes with NaN": ("AddItem", add(attributes_json='{"a": NaN}'),
                            "INVALID_ARGUMENT", "invalid_request", "NaN"),
    "attributes with infinity": ("AddItem", add(attributes_json='{"a": [-Infinity]}'),
                                 "INVALID_ARGUMENT", "invalid_request", "Infinity"),
    "attributes too deep to parse": ("AddItem", add(attributes_json='{"a":' * 10_000),
                                     "INVALID_ARGUMENT", "invalid_request", "more than 64 deep"),
    "attributes over the limit": (
        "AddItem", add(attributes_json='{"a": "%s"}' % ("x" * 65_528)), "INVALID_ARGUMENT",
        "invalid_request", "item 'refused' have 65,537 bytes of JSON"),
    "attributes with an endless number": (
        "AddItem", add(attributes_json='{"a": %s}' % ("1" * 5000)),
        "INVALID_ARGUMENT", "invalid_request", "JSON"),
}  # fmt: skip


@each_as_subtest(
    ("method", "request_", "status", "reason", "named"), HOSTILE.values(), ids=HOSTILE.keys()
)
def test_a_hostile_request_is_refused_and_changes_nothing(
    stubs, client, method, request_, status, reason, named
):
    before = client.models()
    refused = refusal(getattr(stubs.v1, method), request_)
    assert (refused.status.name, refused.reason) == (status, reason)
    assert named in refused.message
    assert client.models() == before
    with pytest.raises(euclidesdb.UnknownItem):
        client.get("refused")


@pytest.mark.parametrize("method", ["AddItem", "GetItem", "RemoveItem", "FindSimilar"])
@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
def test_an_unparsable_request_is_an_invalid_argument(stubs, method, data):
    call = stubs.channel.unary_unary(f"/euclidesdb.v1.FeatureDatabase/{method}")
    refused = refusal(call, data)
    assert (refused.status, refused.reason) == (STATUS.INVALID_ARGUMENT, "invalid_request")
    assert "cannot be parsed" in refused.message


def test_a_call_that_does_not_exist_is_unimplemented(stubs):
    call = stubs.channel.unary_unary("/euclidesdb.v1.FeatureDatabase/DropEverything")
    assert refusal(call, b"").status is STATUS.UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused_by_a_message_that_states_it(stubs, client):
    refused = refusal(stubs.v1.AddItem, add(metadata=b"x" * LIMIT))
    assert refused.status is STATUS.RESOURCE_EXHAUSTED
    assert str(LIMIT) in refused.message
    with pytest.raises(euclidesdb.MessageTooLarge, match=str(LIMIT)):
        client.add("refused", vectors={"tiny": np.ones(12)}, metadata=b"x" * LIMIT)


def test_a_message_just_below_the_limit_is_served(stubs, client):
    request = add("large", metadata=b"")
    request.metadata = b"x" * (LIMIT - request.ByteSize() - 8)
    assert LIMIT - 8 < request.ByteSize() <= LIMIT
    stubs.v1.AddItem(request)
    assert client.get("large").metadata == request.metadata
    client.remove("large")


def test_an_answer_over_the_limit_of_a_reply_is_refused_and_single_items_are_not(client):
    for item_id in ("half", "other half", "third half"):
        client.add(item_id, vectors={"tiny": np.ones(12)}, metadata=b"x" * (LIMIT // 5))
    search = {"vector": np.ones(12), "model": "tiny"}
    with pytest.raises(euclidesdb.ReplyTooLarge, match="max_reply_bytes permits 524,288"):
        client.find_similar(**search, top_k=3, include_metadata=True)
    found = client.find_similar(**search, top_k=2, include_metadata=True)["tiny"]
    assert [*map(len, found.metadata)] == [LIMIT // 5] * 2
    assert len(client.find_similar(**search, top_k=3)["tiny"].ids) == 3
    for item_id in ("half", "other half", "third half"):
        assert len(client.get(item_id).metadata) == LIMIT // 5
        client.remove(item_id)


IDS = {
    "one byte": "x",
    "512 bytes": "x" * 512,
    "512 bytes of 2-byte letters": "ü" * 256,
    "512 bytes of 4-byte letters": "\U0001f600" * 128,
    "NUL": "\0",
    "NUL inside": "a\0b",
    "slashes": "../../etc/passwd",
    "spaces": "  a  b  ",
    "lines": "a\r\nb\n",
    "a composed letter": "\u00e9",
    "the same letter decomposed": "e\u0301",
    "right to left": "שלום",
    "the last letter of Unicode": "\U0010ffff",
    "a percent sign": "%00%s{}",
    "the key of EuclidesDB's metadata record": "__euclidesdb_metadata",
}


@each_as_subtest("item_id", IDS.values(), ids=IDS.keys())
def test_an_id_comes_back_exactly_as_given(client, item_id):
    vector = np.full(12, 7 + len(item_id), np.float32)
    client.add(item_id, vectors={"tiny": vector})
    assert client.get(item_id).id == item_id
    found = client.find_similar(vector=vector, model="tiny", top_k=1)["tiny"]
    assert found.ids == (item_id,)
    by_id = client.find_similar(id=item_id, model="tiny", top_k=1, include_self=True)["tiny"]
    assert by_id.ids == (item_id,)
    client.remove(item_id)
    with pytest.raises(euclidesdb.UnknownItem):
        client.get(item_id)


def test_ids_that_only_look_alike_are_different_items(client):
    for item_id in ("\u00e9", "e\u0301", "a", "a\0"):
        client.add(item_id, vectors={"tiny": np.ones(12)}, metadata=item_id.encode())
    for item_id in ("\u00e9", "e\u0301", "a", "a\0"):
        assert client.get(item_id).metadata == item_id.encode()
        client.remove(item_id)


def test_one_call_adds_for_two_models_and_one_call_searches_both(client):
    written = client.add(
        "both", image=IMAGE, models=["gray", "tiny"], include_vectors=True, include_predictions=True
    )
    assert [embedding.model for embedding in written] == ["gray", "tiny"]
    assert [embedding.vector.shape for embedding in written] == [(4,), (12,)]
    assert [embedding.predictions.shape for embedding in written] == [(3,), (3,)]
    answers = client.find_similar(image=IMAGE, models=["tiny", "gray"], top_k=5)
    assert list(answers) == ["tiny", "gray"]
    assert set(answers["tiny"].ids) == {"stored", "both"}
    assert answers["gray"].ids == ("both",)
    assert answers["tiny"].fingerprint == written[1].fingerprint
    client.remove("both")


def test_a_payload_for_one_model_and_a_vector_for_another_are_written_as_one(client):
    client.add("mixed", image=IMAGE, models=["tiny"], vectors={"gray": np.ones(4)})
    item = client.get("mixed", include_vectors=True, include_predictions=True)
    assert sorted(item.models) == ["gray", "tiny"]
    predictions = {embedding.model: embedding.predictions for embedding in item.embeddings}
    assert predictions["gray"] is None, "nothing is known of a ready-made vector"
    assert predictions["tiny"].shape == (3,)
    client.remove("mixed")


def test_stored_parts_are_returned_on_request(client):
    attributes = {"brand": "ü", "sizes": [40, 41.5], "gone": None}
    client.add("full", image=IMAGE, models=["tiny"], attributes=attributes, metadata=b"\0\xff")
    bare = client.get("full")
    assert (bare.attributes, bare.metadata, bare.image) == (attributes, b"\0\xff", None)
    assert bare.embeddings[0].vector is None
    full = client.get("full", include_vectors=True, include_predictions=True, include_payload=True)
    assert full.image == IMAGE
    assert full.embeddings[0].vector.shape == (12,)
    found = client.find_similar(
        id="full", model="tiny", top_k=1, include_self=True,
        include_attributes=True, include_metadata=True,
    )["tiny"]  # fmt: skip
    assert (found.attributes, found.metadata) == ((attributes,), (b"\0\xff",))
    client.remove("full")


def test_unset_attributes_and_metadata_keep_what_is_stored_and_empty_ones_replace_it(client):
    client.add("kept", vectors={"tiny": np.ones(12)}, attributes={"a": 1}, metadata=b"m")
    client.add("kept", vectors={"tiny": np.ones(12)})
    item = client.get("kept")
    assert (item.attributes, item.metadata) == ({"a": 1}, b"m")
    client.add("kept", vectors={"tiny": np.ones(12)}, attributes={}, metadata=b"")
    item = client.get("kept")
    assert (item.attributes, item.metadata) == ({}, b"")
    client.remove("kept")


def test_another_payload_drops_the_vectors_made_of_the_old_one(client):
    client.add("changed", image=IMAGE, models=["tiny", "gray"])
    client.add("changed", image=encoded(noise(2)), models=["tiny"])
    assert client.get("changed").models == ("tiny",)
    found = client.find_similar(image=IMAGE, model="gray", top_k=1000)["gray"]
    assert "changed" not in found.ids
    client.remove("changed")


def test_a_vector_of_the_version_served_is_taken(client):
    fingerprint = {info.name: info.fingerprint for info in client.models()}["tiny"]
    vector = euclidesdb.ModelVector(np.ones(12), fingerprint)
    client.add("versioned", vectors={"tiny": vector})
    assert client.find_similar(vector=vector, model="tiny", top_k=1)["tiny"].ids == ("versioned",)
    client.remove("versioned")


def test_a_model_named_twice_is_searched_once(client):
    answers = client.find_similar(image=IMAGE, models=["tiny", "tiny"], top_k=1)
    assert list(answers) == ["tiny"]


@each_as_subtest("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_an_image_of_any_mode_is_an_item(client, mode):
    image = noise(3).convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    (written,) = client.add("odd", image=data, models=["tiny"], include_vectors=True)
    assert np.isfinite(written.vector).all()
    client.remove("odd")


def test_the_list_of_models_has_all_of_them_with_what_is_wrong(client):
    models = {info.name: info for info in client.models()}
    assert list(models) == ["empty", "garbage", "gray", "liar", "tiny"]
    states = {name: info.state for name, info in models.items()}
    assert states == {
        "empty": "quarantined", "garbage": "quarantined", "gray": "ready",
        "liar": "quarantined", "tiny": "ready",
    }  # fmt: skip
    assert "feature_dim = 512" in models["liar"].reason
    assert "program.pt" in models["garbage"].reason
    assert "model.conf" in models["empty"].reason
    assert models["tiny"].labels == ("red", "green", "blue")
    assert (models["gray"].feature_dim, models["gray"].prediction_dim) == (4, 3)
    assert (models["tiny"].engine, models["tiny"].metric, models["tiny"].items) == (
        "exact",
        "l2",
        1,
    )
    assert models["tiny"].fingerprint != models["gray"].fingerprint
