"""Options of searches and queries by examples: what is sent, and what comes back."""

from typing import Any

import numpy as np
import pytest

import euclidesdb
from euclidesdb import Diversity, Example, Examples, GroupBy, LabelProbability
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.cases import each_as_subtest

ALL = {
    "offset": 5,
    "exact": True,
    "include_payload": True,
    "include_vectors": True,
    "include_predictions": True,
    "top_labels": 3,
    "attribute_names": iter(["price", "size.width"]),
    "diversity": Diversity(0.25, 40),
    "group_by": GroupBy("digits.label", 2),
}
SENT = pb.SearchOptions(
    offset=5,
    exact=True,
    include_payload=True,
    include_vectors=True,
    include_predictions=True,
    top_labels=3,
    attribute_names=["price", "size.width"],
    diversity=pb.Diversity(weight=0.25, candidates=40),
    group_by=pb.GroupBy(field=pb.Field(name="digits.label"), max_per_group=2),
)


def floats(*values):
    array = np.array(values, "<f4")
    return pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=array.shape, data=array.tobytes())


DETAILS = [
    pb.NeighborDetails(
        payload=pb.Payload(text="a shoe"),
        vector=floats(1, 2),
        predictions=floats(0.25, 0.75),
        labels=[pb.LabelProbability(label="7", probability=0.75)],
        group=pb.Value(string_value="acme"),
    ),
    pb.NeighborDetails(vector=floats(3, 4)),
    pb.NeighborDetails(
        payload=pb.Payload(tensor=floats(5)), vector=floats(6, 7), group=pb.Value(int_value=0)
    ),
]
RETURNED = {
    "include_payload": True,
    "include_vectors": True,
    "include_predictions": True,
    "top_labels": 1,
    "group_by": "brand",
    "attribute_names": ["x"],
}


def check_details(found):
    assert found.payloads[:2] == ("a shoe", None)
    assert found.payloads[2].tolist() == [5]
    assert [vector.tolist() for vector in found.vectors] == [[1, 2], [3, 4], [6, 7]]
    assert [each is None for each in found.predictions] == [False, True, True]
    assert found.labels == ((LabelProbability("7", 0.75),), (), ())
    assert found.groups == ("acme", None, 0)
    assert found.attributes == ({"x": 1}, {}, {})
    first, second, _ = found
    assert (first.id, first.payload, first.labels) == ("a", "a shoe", found.labels[0])
    assert (first.predictions.tolist(), first.group) == ([0.25, 0.75], "acme")
    assert (second.payload, second.predictions, second.group) == (None, None, None)
    assert found[0] == first
    assert found[-1].group == 0
    assert found[1:].vectors == found.vectors[1:]
    with pytest.raises(ValueError, match="read-only"):
        first.vector[0] = 1


def test_the_options_of_a_search_are_sent(db, server):
    db.find_similar(id="a", model="m", **ALL, fuse=True)
    (sent,) = server.requests["FindSimilar"]
    fused = pb.SearchOptions(fuse=True)
    fused.MergeFrom(SENT)
    assert sent.options == fused


def test_the_options_of_many_searches_are_sent(db, server):
    db.find_similar_many(
        ids=["a"], model="m", **{**ALL, "attribute_names": ["price", "size.width"]}
    )
    (sent,) = server.requests["FindSimilarBatch"]
    assert sent.options == SENT


def test_a_search_without_options_sends_none(db, server):
    db.find_similar(id="a", model="m")
    db.find_similar_many(ids=["a"], model="m")
    assert not server.requests["FindSimilar"][0].HasField("options")
    assert not server.requests["FindSimilarBatch"][0].HasField("options")


def test_diversity_and_groups_may_be_given_in_short(db, server):
    db.find_similar(id="a", model="m", diversity=0, group_by="brand")
    assert server.requests["FindSimilar"][0].options == pb.SearchOptions(
        diversity=pb.Diversity(weight=0),
        group_by=pb.GroupBy(field=pb.Field(name="brand"), max_per_group=1),
    )


def test_what_was_requested_of_neighbors_comes_back(db, server):
    neighbors = [
        pb.Neighbor(id=name, distance=1, details=details, attributes_json=attributes)
        for name, details, attributes in zip("abc", DETAILS, ['{"x": 1}', "", "{}"], strict=True)
    ]
    answer = pb.ModelAnswer(model="m", neighbors=neighbors)
    server.script("FindSimilar", pb.FindSimilarReply(answers=[answer]))
    check_details(db.find_similar(id="q", model="m", **RETURNED)["m"])
    plain = db.find_similar(id="q", model="m", offset=1)["m"]
    assert (plain.payloads, plain.vectors, plain.labels, plain.groups) == (None,) * 4
    assert plain[0] == euclidesdb.Neighbor("a", 1.0)


def test_what_was_requested_of_the_neighbors_of_many_queries_comes_back(db, server):
    answer = pb.BatchAnswer(
        model="m",
        counts=[0, 3],
        ids=[*"abc"],
        distances=[1] * 3,
        details=DETAILS,
        attributes_json=['{"x": 1}', "{}", "{}"],
    )
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    empty, found = db.find_similar_many(ids=["p", "q"], model="m", **RETURNED)
    check_details(found["m"])
    assert empty["m"].vectors == ()


def test_a_reply_without_the_details_requested_is_an_error(db, server):
    answer = pb.BatchAnswer(model="m", counts=[1], ids=["a"], distances=[1])
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    with pytest.raises(euclidesdb.ServerError, match="columns of"):
        db.find_similar_many(ids=["q"], model="m", include_vectors=True)


def test_fused_results_are_an_attribute_of_the_results(db, server):
    reply = pb.FindSimilarReply(
        answers=[pb.ModelAnswer(model="m")],
        fused=[pb.FusedNeighbor(id="a", score=0.5, attributes_json='{"x": 1}', metadata=b"")],
    )
    server.script("FindSimilar", reply)
    found = db.find_similar(id="q", fuse=True)
    assert [*found] == ["m"]
    assert found.fused == (euclidesdb.FusedNeighbor("a", 0.5),)
    found = db.find_similar(id="q", fuse=True, include_attributes=True, include_metadata=True)
    assert found.fused == (euclidesdb.FusedNeighbor("a", 0.5, {"x": 1}, b""),)
    assert db.find_similar(id="q").fused is None


ODD: Any = 0.5
EXAMPLES = Examples(
    [Example(id="a"), Example(image=b"image"), Example(text="words")],
    negative=[Example(vector=euclidesdb.ModelVector([1, 2], "f"))],
)
EXAMPLES_SENT = pb.Query(
    examples=pb.Examples(
        positive=[
            pb.Example(id="a"),
            pb.Example(payload=pb.Payload(image=b"image")),
            pb.Example(payload=pb.Payload(text="words")),
        ],
        negative=[pb.Example(vector=pb.Vector(values=floats(1, 2), fingerprint="f"))],
    )
)


def test_examples_are_sent(db, server):
    db.find_similar(examples=EXAMPLES, model="m")
    assert server.requests["FindSimilar"][0].query == EXAMPLES_SENT
    db.find_similar_many(examples=iter([EXAMPLES] * 65), model="m")
    assert [len(sent.queries) for sent in server.requests["FindSimilarBatch"]] == [64, 1]
    assert server.requests["FindSimilarBatch"][0].queries[0] == EXAMPLES_SENT


def test_an_example_that_cannot_be_read_fails_its_query_and_is_named(db, server, tmp_path):
    unreadable = Examples([Example(id="a")], [Example(id="b"), Example(image=tmp_path / "x.png")])
    with pytest.raises(FileNotFoundError) as caught:
        db.find_similar(examples=unreadable, model="m")
    assert caught.value.__notes__ == ["in examples.negative[1]"]
    server.script(
        "FindSimilarBatch",
        pb.FindSimilarBatchReply(
            answers=[pb.BatchAnswer(model="m", counts=[1], ids=["c"], distances=[1])]
        ),
    )
    failed, found = db.find_similar_many(examples=[unreadable, EXAMPLES], model="m")
    assert isinstance(failed.error, FileNotFoundError)
    assert found["m"].ids == ("c",)


@pytest.mark.parametrize(
    ("given", "queries"),
    [
        ({}, 1000),
        ({"offset": 290, "top_k": 10}, 666),
        ({"diversity": Diversity(0.5, 10_000)}, 20),
        ({"include_vectors": True, "top_k": 100}, 100),
        ({"include_payload": True}, 20),
        ({"include_payload": True, "top_k": 500}, 1),
    ],
)
def test_the_queries_of_a_call_are_as_many_as_a_reply_can_answer(db, server, given, queries):
    def answer(request):
        answer = pb.BatchAnswer(model="m", counts=[0] * len(request.queries))
        return pb.FindSimilarBatchReply(answers=[answer])

    server.script("FindSimilarBatch", answer)
    db.find_similar_many(ids=[str(number) for number in range(1000)], model="m", **given)
    assert len(server.requests["FindSimilarBatch"][0].queries) == queries


@each_as_subtest(
    ("arguments", "error", "text"),
    [
        ({"offset": 1.5}, TypeError, "offset must be an integer"),
        ({"exact": "no"}, TypeError, "exact must be True or False"),
        ({"fuse": 1}, TypeError, "fuse must be True or False"),
        ({"top_labels": 2**31}, ValueError, "top_labels must fit in 32 bits"),
        ({"attribute_names": "price"}, TypeError, "attribute_names must be a sequence"),
        ({"attribute_names": []}, ValueError, "attribute_names must not be empty"),
        ({"diversity": "much"}, TypeError, "diversity must be a number"),
        ({"diversity": Diversity(0.5, ODD)}, TypeError, "candidates of diversity must be"),
        ({"group_by": 5}, TypeError, "group_by must be a str"),
        ({"group_by": GroupBy("a", ODD)}, TypeError, "max_per_group of group_by must be"),
    ],
)
def test_an_option_that_cannot_be_sent_is_refused(arguments, error, text, db, server):
    with pytest.raises(error, match=text):
        db.find_similar(id="a", model="m", **arguments)
    assert not server.requests["FindSimilar"]


@each_as_subtest(
    ("examples", "error", "text"),
    [
        (["a"], TypeError, "examples must be Examples"),
        (Examples([]), ValueError, "examples.positive must not be empty"),
        (Examples([ODD]), TypeError, r"must be an Example, such as Example\(id=\"sku-1\"\), not"),
        (Examples(ODD), TypeError, "examples.positive must be an iterable of Example"),
        (Examples([Example()]), ValueError, "exactly one of image, text, tensor, id and vector"),
        (Examples([Example(id="a", text="b")]), ValueError, "not text and id"),
    ],
)
def test_examples_that_cannot_be_sent_are_refused(examples, error, text, db, server):
    with pytest.raises(error, match=text):
        db.find_similar(examples=examples, model="m")
    assert not server.requests["FindSimilar"]


def test_a_single_query_by_examples_is_not_many(db):
    with pytest.raises(TypeError, match="an iterable of Examples, not a single one"):
        db.find_similar_many(examples=EXAMPLES, model="m")
