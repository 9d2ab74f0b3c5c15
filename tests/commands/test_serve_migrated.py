"""A server started on a database of EuclidesDB (C++) serves its items to both protocols."""

from __future__ import annotations

import grpc
import pytest

import euclidesdb
from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_protos.legacy import euclidesproto_pb2_grpc
from tests.support.euclidesdb_data import write_euclidesdb
from tests.support.images import noise
from tests.support.servers import start_server


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny_models):
    data = tmp_path_factory.mktemp("euclidesdb")
    items = []
    for number in range(-2, 3):
        item = pb.ItemData(item_id=number, metadata=b"kept")
        item.vectors.add(model="tiny", features=[float(number)] * 12, predictions=[1, 0, 0])
        item.vectors.add(model="gone", features=[float(number), 1.0])
        items.append(item)
    write_euclidesdb(data, *items)
    with start_server(data, tiny_models) as server, euclidesdb.Client(server.address) as client:
        yield server, client


def test_an_euclidesdb_client_finds_its_items(served):
    server, _ = served
    with grpc.insecure_channel(server.address) as channel:
        similar = euclidesproto_pb2_grpc.SimilarStub(channel)
        request = pb.FindSimilarImageByIdRequest(top_k=2, image_id=-2, models=["tiny"])
        (results,) = similar.FindSimilarImageById(request).results
    assert list(results.top_k_ids) == [-2, -1]


def test_metadata_and_vectors_of_every_model_are_there(served):
    _, client = served
    item = client.get("-2", include_vectors=True)
    assert item.metadata == b"kept"
    assert {found.model: found.vector.tolist() for found in item.embeddings} == {
        "tiny": [-2.0] * 12,
        "gone": [-2.0, 1.0],
    }


def test_list_models_lists_the_adopted_items(served):
    _, client = served
    listed = {model.name: model for model in client.models()}
    assert listed["tiny"].adopted
    assert listed["tiny"].state == "ready"
    assert listed["gone"].adopted
    assert listed["gone"].items == 5
    assert "no model" in listed["gone"].reason


def test_vectors_whose_model_is_gone_can_be_searched_by_vector_and_by_id(served):
    _, client = served
    assert client.find_similar(id="0", model="gone", top_k=1, include_self=True)["gone"].ids == (
        "0",
    )
    assert client.find_similar(vector=[2, 1], model="gone", top_k=1)["gone"].ids == ("2",)
    with pytest.raises(euclidesdb.UnknownModel):
        client.find_similar(image=noise(0), model="gone")


def test_adding_an_adopted_item_for_one_model_keeps_its_other_vectors(served):
    _, client = served
    client.add("1", image=noise(1), models=["tiny"])
    assert set(client.get("1").models) == {"gone", "tiny"}
