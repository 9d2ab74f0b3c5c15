"""Options of searches and queries by examples, between a real server and its clients."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb import Example, Examples, GroupBy
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.calls import Stubs, refusal
from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

IMAGES = [encoded(noise(seed)) for seed in range(8)]
BRANDS = ("acme", "best", "acme", None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    save_model(models, "tiny", worker="shared", labels="red\n green\n blue")
    save_model(models, "gray", worker="shared", image_mode="L", feature_dim=4)
    save_vector_space(models, "given")
    with start_server(tmp_path_factory.mktemp("data"), models) as server:
        yield server


@pytest.fixture(scope="module")
def db(server):
    with euclidesdb.Client(server.address) as db:
        for number, image in enumerate(IMAGES):
            brand = BRANDS[number % len(BRANDS)]
            db.add(
                str(number),
                image=image,
                models=["tiny", "gray"],
                attributes={"brand": brand, "size": {"width": number, "height": 1}},
                metadata=b"m",
            )
        yield db


@pytest.fixture(scope="module")
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


def ids(db, **search):
    return db.find_similar(model="tiny", **{"id": "0", **search})["tiny"].ids


def test_offset_continues_where_the_first_results_end(db):
    everything = ids(db)
    assert len(everything) == 7
    assert ids(db, top_k=3) + ids(db, top_k=3, offset=3) + ids(db, offset=6) == everything
    assert ids(db, offset=7) == ()
    assert ids(db, exact=True) == everything


def test_what_was_requested_of_neighbors_is_returned(db):
    search = {
        "model": "tiny",
        "include_payload": True,
        "include_vectors": True,
        "include_predictions": True,
        "top_labels": 2,
        "attribute_names": ["size.width"],
        "group_by": GroupBy("brand", 10),
    }
    found = db.find_similar(id="0", **search)["tiny"]
    assert len(found) == 7
    for neighbor in found:
        number = int(neighbor.id)
        item = db.get(neighbor.id, include_vectors=True, include_predictions=True)
        (stored,) = [each for each in item.embeddings if each.model == "tiny"]
        assert neighbor.payload == IMAGES[number]
        assert neighbor.attributes == {"size": {"width": number}}
        assert neighbor.vector.tolist() == stored.vector.tolist()
        assert neighbor.predictions.tolist() == stored.predictions.tolist()
        best = np.argsort(-stored.predictions)[:2]
        names = ["red", "green", "blue"]
        assert [each.label for each in neighbor.labels] == [names[place] for place in best]
        assert neighbor.group == BRANDS[number % len(BRANDS)]
    (many, _) = db.find_similar_many(ids=["0", "1"], **search)
    assert many["tiny"].ids == found.ids
    assert many["tiny"].labels == found.labels
    assert many["tiny"].payloads == found.payloads
    assert many["tiny"].attributes == found.attributes


def test_results_are_limited_for_each_group(db):
    order = ids(db)
    first = {}
    for item_id in order:
        first.setdefault(BRANDS[int(item_id) % len(BRANDS)], item_id)
    found = db.find_similar(id="0", model="tiny", group_by="brand")["tiny"]
    assert (found.ids, found.groups) == (tuple(first.values()), tuple(first))
    by_label = db.find_similar(id="0", model="gray", group_by="tiny.label", diversity=0.5)["gray"]
    assert len({*by_label.groups}) == len(by_label) <= 3
    assert {*by_label.groups} <= {"red", "green", "blue"}


def test_examples_of_all_kinds_are_searched_together(db):
    by_id = Examples([Example(id="1"), Example(id="2")], negative=[Example(id="3")])
    raw = Examples([Example(image=IMAGES[1]), Example(id="2")], [Example(image=IMAGES[3])])
    found = db.find_similar(examples=by_id)
    assert [*found] == ["gray", "tiny"]
    assert not {"1", "2", "3"} & {*found["tiny"].ids}
    same = db.find_similar(examples=raw, include_self=True, top_k=8)
    for model in ("gray", "tiny"):
        others = [each for each in same[model].ids if each not in ("1", "2", "3")]
        assert others == [*found[model].ids]
    first, second = db.find_similar_many(examples=[by_id, raw], model="tiny")
    assert first["tiny"].ids == found["tiny"].ids
    assert {*second["tiny"].ids} == {"0", "1", "3", "4", "5", "6", "7"}
    vector = db.get("1", include_vectors=True).embeddings[0]
    by_vector = Examples([Example(vector=euclidesdb.ModelVector(vector.vector))])
    assert db.find_similar(examples=by_vector, model=vector.model, top_k=1)[vector.model].ids == (
        "1",
    )


def test_an_example_that_cannot_be_decoded_is_named(db):
    broken = Examples([Example(id="1"), Example(image=b"no image")])
    with pytest.raises(euclidesdb.UndecodableInput, match=r"examples.positive\[1\]: "):
        db.find_similar(examples=broken, model="tiny")
    answers = db.find_similar_many(examples=[broken, Examples([Example(id="1")])], model="tiny")
    assert [answer.reason for answer in answers] == ["undecodable_input", ""]


def test_the_results_of_all_models_are_fused(db):
    found = db.find_similar(id="0", top_k=4, fuse=True, attribute_names=["brand"])
    scores = {}
    for neighbors in found.values():
        for rank, item_id in enumerate(neighbors.ids, 1):
            scores[item_id] = scores.get(item_id, 0) + 1 / (60 + rank)
    assert len(found.fused) == 4
    assert [each.score for each in found.fused] == pytest.approx(
        sorted(scores.values(), reverse=True)[:4]
    )
    for each in found.fused:
        assert each.score == pytest.approx(scores[each.id])
        assert each.attributes == {"brand": BRANDS[int(each.id) % len(BRANDS)]}
        assert each.metadata is None


def request_of(**fields):
    options = fields.pop("options", {})
    fields.setdefault("query", pb.Query(id="0"))
    return pb.FindSimilarRequest(
        models=["tiny"], top_k=5, options=pb.SearchOptions(**options), **fields
    )


def by_prediction(**fields):
    return pb.GroupBy(field=pb.Field(prediction=pb.PredictionField(**fields)))


EMPTY = pb.Example()
BY_ID = pb.Example(id="0")
BAD_VECTOR = pb.Example(
    vector=pb.Vector(values=pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[12], data=b"1234"))
)


@each_as_subtest(
    ("options", "says"),
    [
        ({"offset": -1}, "offset = -1 should not be negative"),
        ({"offset": 2**31 - 1}, "add up to 2147483652; the limit is 1000"),
        ({"top_labels": -1}, "top_labels = -1"),
        ({"attribute_names": ["a" * 2000]}, "has 2,000 characters"),
        ({"diversity": pb.Diversity(weight=float("inf"))}, "diversity.weight = inf"),
        ({"diversity": pb.Diversity(candidates=2)}, "diversity.candidates = 2 should be 5"),
        ({"group_by": pb.GroupBy()}, "field is not set"),
        ({"group_by": pb.GroupBy(field=pb.Field(name="x"), max_per_group=-1)}, "= -1 should be"),
        ({"group_by": by_prediction(model="tiny")}, "value = 0"),
        ({"group_by": by_prediction(model="tiny", value=3)}, "not by its margin"),
    ],
)
def test_an_invalid_option_is_refused_with_its_value(options, says, stubs, db):  # noqa: ARG001
    refused = refusal(stubs.v1.FindSimilar, request_of(options=options))
    assert (refused.status, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid_request",
    )
    assert says in refused.message


@each_as_subtest(
    ("examples", "reason", "says"),
    [
        (pb.Examples(), "invalid_request", "examples.positive is empty"),
        (pb.Examples(negative=[BY_ID]), "invalid_request", "examples.positive is empty"),
        (
            pb.Examples(positive=[BY_ID, EMPTY]),
            "invalid_request",
            "examples.positive[1]: it is not set",
        ),
        (
            pb.Examples(positive=[BY_ID], negative=[BAD_VECTOR]),
            "invalid_request",
            "examples.negative[0]: a vector: 4 bytes",
        ),
        (
            pb.Examples(positive=[BY_ID] * 1001),
            "invalid_request",
            "1001 examples in one query; the limit is 1,000",
        ),
    ],
)
def test_examples_that_cannot_be_read_are_refused_by_name(examples, reason, says, stubs, db):  # noqa: ARG001
    query = pb.Query(examples=examples)
    refused = refusal(stubs.v1.FindSimilar, request_of(query=query))
    assert refused.reason == reason
    assert says in refused.message
    batch = pb.FindSimilarBatchRequest(queries=[query, pb.Query(id="0")], models=["tiny"], top_k=2)
    (answer,) = stubs.v1.FindSimilarBatch(batch).answers
    assert [(each.position, each.reason) for each in answer.refused] == [(0, reason)]
    assert [*answer.counts] == [0, 2]


def test_too_many_examples_in_a_call_are_refused(stubs):
    query = pb.Query(examples=pb.Examples(positive=[BY_ID] * 1000))
    batch = pb.FindSimilarBatchRequest(queries=[query] * 101, models=["tiny"], top_k=1)
    refused = refusal(stubs.v1.FindSimilarBatch, batch)
    assert "101000 examples in one call; the limit is 100,000" in refused.message


def test_many_queries_cannot_be_fused(stubs):
    batch = pb.FindSimilarBatchRequest(
        queries=[pb.Query(id="0")],
        models=["tiny"],
        top_k=1,
        options=pb.SearchOptions(fuse=True),
    )
    assert (
        "options.fuse is for a single query: use FindSimilar"
        in refusal(stubs.v1.FindSimilarBatch, batch).message
    )


def test_empty_options_change_nothing(stubs, db):
    (answer,) = stubs.v1.FindSimilar(request_of()).answers
    assert [each.id for each in answer.neighbors] == [*ids(db, top_k=5)]
    assert not any(each.HasField("details") for each in answer.neighbors)
