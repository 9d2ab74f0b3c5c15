"""EuclidesDB's service as its clients use it, next to v1 on the same items."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server

STATUS = grpc.StatusCode
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

# Name, type, number and whether repeated: EuclidesDB's clients and databases depend on each.
FIELDS = {
    "FindSimilarImageRequest": [
        ("top_k", "int32", 1, False),
        ("image_data", "bytes", 2, False),
        ("models", "string", 3, True),
    ],
    "FindSimilarImageByIdRequest": [
        ("top_k", "int32", 1, False),
        ("image_id", "int32", 2, False),
        ("models", "string", 3, True),
    ],
    "SearchResults": [
        ("top_k_ids", "int32", 1, True),
        ("distances", "float", 2, True),
        ("model", "string", 3, False),
    ],
    "FindSimilarImageReply": [("results", "SearchResults", 1, True)],
    "AddImageRequest": [
        ("image_id", "int32", 1, False),
        ("image_data", "bytes", 2, False),
        ("image_metadata", "bytes", 3, False),
        ("models", "string", 4, True),
    ],
    "AddImageReply": [("vectors", "ItemVectors", 1, True)],
    "ItemVectors": [
        ("model", "string", 1, False),
        ("predictions", "float", 2, True),
        ("features", "float", 3, True),
    ],
    "RemoveImageRequest": [("image_id", "int32", 1, False)],
    "RemoveImageReply": [("image_id", "int32", 1, False)],
    "ShutdownRequest": [("shutdown_type", "int32", 1, False)],
    "ShutdownReply": [("shutdown", "bool", 1, False)],
    "EuclidesDBMetadata": [("database_version", "int32", 1, False)],
    "ItemData": [
        ("item_id", "int32", 1, False),
        ("metadata", "bytes", 2, False),
        ("vectors", "ItemVectors", 3, True),
    ],
}
METHODS = {
    "Shutdown": ("ShutdownRequest", "ShutdownReply"),
    "FindSimilarImage": ("FindSimilarImageRequest", "FindSimilarImageReply"),
    "FindSimilarImageById": ("FindSimilarImageByIdRequest", "FindSimilarImageReply"),
    "AddImage": ("AddImageRequest", "AddImageReply"),
    "RemoveImage": ("RemoveImageRequest", "RemoveImageReply"),
}
TYPES = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_BOOL: "bool",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("two")
    save_model(models, "tiny", worker="shared")
    save_model(models, "other", worker="shared", image_mode="L", feature_dim=4)
    with start_server(tmp_path_factory.mktemp("legacy"), models) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server):
    with Stubs(server.address) as stubs:
        yield stubs.legacy


@pytest.fixture(scope="module")
def client(server):
    with euclidesdb.Client(server.address) as client:
        yield client


def add(stub, number, seed, models=("tiny",), metadata=b""):
    return stub.AddImage(
        pb.AddImageRequest(
            image_id=number,
            image_data=encoded(noise(seed)),
            image_metadata=metadata,
            models=models,
        )
    )


def test_every_message_has_euclidesdbs_fields():
    messages = pb.DESCRIPTOR.message_types_by_name
    found = {
        name: [
            (
                field.name,
                field.message_type.name if field.message_type else TYPES[field.type],
                field.number,
                field.is_repeated,
            )
            for field in message.fields
        ]
        for name, message in messages.items()
    }
    assert found == FIELDS


def test_the_service_has_euclidesdbs_name_and_methods():
    assert pb.DESCRIPTOR.package == "euclidesproto"
    service = pb.DESCRIPTOR.services_by_name["Similar"]
    assert {m.name: (m.input_type.name, m.output_type.name) for m in service.methods} == METHODS


def test_add_image_returns_predictions_and_features_of_each_model(stub):
    reply = add(stub, 1, 1, models=["other", "tiny"])
    assert [vectors.model for vectors in reply.vectors] == ["other", "tiny"]
    pixels = np.asarray(noise(1), np.float32) / 255
    quarters = pixels.reshape(2, 8, 2, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(reply.vectors[1].features, quarters, atol=1e-5)
    softmax = np.exp(quarters[:3]) / np.exp(quarters[:3]).sum()
    np.testing.assert_allclose(reply.vectors[1].predictions, softmax, atol=1e-5)


def test_a_caller_without_a_deadline_is_served(stub):
    # EuclidesDB's own clients set none
    request = pb.FindSimilarImageRequest(top_k=1, image_data=encoded(noise(1)), models=["tiny"])
    assert stub.FindSimilarImage(request, timeout=None).results


@each_as_subtest("number", [0, -1, -42, INT32_MIN, INT32_MAX])
def test_every_int32_is_an_id(stub, client, number):
    add(stub, number, 1000)
    request = pb.FindSimilarImageByIdRequest(top_k=1, image_id=number, models=["tiny"])
    (found,) = stub.FindSimilarImageById(request).results
    assert (list(found.top_k_ids), list(found.distances)) == ([number], [0])
    assert client.get(str(number)).id == str(number)
    assert stub.RemoveImage(pb.RemoveImageRequest(image_id=number)).image_id == number
    assert refusal(stub.RemoveImage, pb.RemoveImageRequest(image_id=number)).status is (
        STATUS.NOT_FOUND
    )


def test_what_one_protocol_adds_the_other_finds_and_removes(stub, client):
    add(stub, 500, 500, metadata=b"of EuclidesDB")
    assert client.get("500").metadata == b"of EuclidesDB"
    client.add("501", image=encoded(noise(501)), models=["tiny"])
    request = pb.FindSimilarImageRequest(top_k=1, image_data=encoded(noise(501)), models=["tiny"])
    assert list(stub.FindSimilarImage(request).results[0].top_k_ids) == [501]
    client.remove("500")
    assert refusal(stub.RemoveImage, pb.RemoveImageRequest(image_id=500)).reason == "unknown_item"
    stub.RemoveImage(pb.RemoveImageRequest(image_id=501))
    with pytest.raises(euclidesdb.UnknownItem):
        client.get("501")


@each_as_subtest("item_id", ["042", "+42", "-0", " 42", "٤٢", "2147483648", "-2147483649"])
def test_an_id_that_is_not_the_decimal_form_of_an_int32_is_not_of_this_service(
    stub, client, item_id
):
    image = encoded(noise(600))
    client.add(item_id, image=image, models=["tiny"])
    add(stub, 601, 601)
    request = pb.FindSimilarImageRequest(top_k=1000, image_data=image, models=["tiny"])
    (found,) = stub.FindSimilarImage(request).results
    assert 601 in found.top_k_ids
    assert found.distances[0] > 0, "the item itself would be at 0"
    client.remove(item_id)


def test_each_model_answers_in_its_own_space_in_the_requested_order(stub):
    for number in range(700, 705):
        add(stub, number, number, models=["tiny", "other"])
    request = pb.FindSimilarImageByIdRequest(top_k=3, image_id=702, models=["other", "tiny"])
    results = stub.FindSimilarImageById(request).results
    assert [found.model for found in results] == ["other", "tiny"]
    assert [found.top_k_ids[0] for found in results] == [702, 702]


def test_adding_an_image_again_for_one_model_keeps_its_vectors_of_the_others(stub, client):
    add(stub, 800, 800, models=["tiny", "other"])
    add(stub, 800, 800, models=["tiny"])
    assert sorted(client.get("800").models) == ["other", "tiny"]


def test_adding_another_image_drops_the_vectors_of_other_models(stub, client):
    add(stub, 801, 801, models=["tiny", "other"])
    add(stub, 801, 802, models=["tiny"])
    assert client.get("801").models == ("tiny",)
    request = pb.FindSimilarImageByIdRequest(top_k=1, image_id=801, models=["other"])
    assert refusal(stub.FindSimilarImageById, request).reason == "unknown_item"


def test_the_metadata_given_replaces_what_is_stored_even_by_nothing(stub, client):
    add(stub, 803, 803, metadata=b"first")
    client.add("803", image=encoded(noise(803)), models=["tiny"], attributes={"kept": True})
    add(stub, 803, 803)
    item = client.get("803")
    assert (item.metadata, item.attributes) == (b"", {"kept": True})


IMAGE = encoded(noise(9))
REFUSED = {
    "no image": ("AddImage", pb.AddImageRequest(image_id=9, image_data=b"?", models=["tiny"]),
                 STATUS.INVALID_ARGUMENT, "undecodable_input"),
    "an empty image": ("AddImage", pb.AddImageRequest(image_id=9, models=["tiny"]),
                       STATUS.INVALID_ARGUMENT, "undecodable_input"),
    "half an image": ("FindSimilarImage",
                      pb.FindSimilarImageRequest(top_k=1, image_data=IMAGE[:400], models=["tiny"]),
                      STATUS.INVALID_ARGUMENT, "undecodable_input"),
    "no models": ("AddImage", pb.AddImageRequest(image_id=9, image_data=IMAGE),
                  STATUS.INVALID_ARGUMENT, "invalid_request"),
    "an unknown model": ("AddImage",
                         pb.AddImageRequest(image_id=9, image_data=IMAGE, models=["tyni"]),
                         STATUS.NOT_FOUND, "unknown_model"),
    "no top_k": ("FindSimilarImage",
                 pb.FindSimilarImageRequest(image_data=IMAGE, models=["tiny"]),
                 STATUS.INVALID_ARGUMENT, "invalid_request"),
    "an unknown item": ("FindSimilarImageById",
                        pb.FindSimilarImageByIdRequest(top_k=1, image_id=77, models=["tiny"]),
                        STATUS.NOT_FOUND, "unknown_item"),
    "an unknown item to remove": ("RemoveImage", pb.RemoveImageRequest(image_id=77),
                                  STATUS.NOT_FOUND, "unknown_item"),
    "an unknown shutdown_type": ("Shutdown", pb.ShutdownRequest(shutdown_type=2),
                                 STATUS.INVALID_ARGUMENT, "invalid_request"),
}  # fmt: skip


@each_as_subtest(("method", "request_", "status", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_error_has_its_own_status_and_reason(stub, method, request_, status, reason):
    refused = refusal(getattr(stub, method), request_)
    assert (refused.status, refused.reason) == (status, reason)
    assert refused.message
