"""Many queries in a call: what is sent, how answers and refusals come back."""

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, Silence


def echo(request):
    """Answers each query by id or image with itself, each vector with its first number."""
    if request.HasField("vectors"):
        values = np.frombuffer(request.vectors.values.data, "<f4")
        keys = [
            str(int(first)) for first in values.reshape(tuple(request.vectors.values.shape))[:, 0]
        ]
    else:
        keys = [query.id or query.payload.image.decode() for query in request.queries]
    counts = [1] * len(keys)
    return pb.FindSimilarBatchReply(
        answers=[
            pb.BatchAnswer(model=name, counts=counts, ids=keys, distances=[0.5] * len(keys))
            for name in request.models
        ]
    )


UNKNOWN = pb.Refusal(position=1, code=5, reason="unknown_item", message="no item 'b'")


def test_many_ids_are_searched_in_one_call(db, server):
    db.find_similar_many(
        ids=iter(["a", "ü"]),
        models=["m", "n"],
        top_k=3,
        max_distance=0.5,
        include_self=True,
        include_attributes=True,
        include_metadata=True,
    )
    assert server.requests["FindSimilarBatch"] == [
        pb.FindSimilarBatchRequest(
            queries=[pb.Query(id="a"), pb.Query(id="ü")],
            models=["m", "n"],
            top_k=3,
            max_distance=0.5,
            include_self=True,
            include_attributes=True,
            include_metadata=True,
        )
    ]


def test_many_vectors_are_sent_as_a_matrix(db, server):
    db.find_similar_many(vectors=[[1, 2], [3, 4], [5, 6]], model="m", fingerprint="f1")
    data = np.array([[1, 2], [3, 4], [5, 6]], "<f4").tobytes()
    array = pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[3, 2], data=data)
    assert server.requests["FindSimilarBatch"] == [
        pb.FindSimilarBatchRequest(
            vectors=pb.VectorQueries(values=array, fingerprint="f1"), models=["m"], top_k=10
        )
    ]


def choosing(*models):
    """Answers as `echo`, with the models that the server chooses."""

    def step(request):
        named = pb.FindSimilarBatchRequest()
        named.CopyFrom(request)
        named.models.extend(models)
        return echo(named)

    return step


@pytest.mark.parametrize(
    "queries",
    [{"images": [b"one", bytearray(b"two")]}, {"ids": ["one", "two"]}],
    ids=["images", "ids"],
)
def test_a_search_without_models_is_one_call_and_the_server_chooses(db, server, queries):
    server.script("FindSimilarBatch", choosing("b", "a"))
    answers = db.find_similar_many(**queries)
    assert [list(answer) for answer in answers] == [["b", "a"], ["b", "a"]]
    assert [answer["a"].ids for answer in answers] == [("one",), ("two",)]
    assert [list(request.models) for request in server.requests.pop("FindSimilarBatch")] == [[]]
    assert not any(server.requests.values())


def test_without_models_an_item_is_answered_by_those_that_have_a_vector_of_it(db, server):
    query = pb.Query(id="a")
    reply = echo(pb.FindSimilarBatchRequest(models=["m", "n"], queries=[query] * 2))
    for answer, position in zip(reply.answers, (1, 0), strict=True):
        answer.CopyFrom(pb.BatchAnswer(model=answer.model, counts=[0, 0], refused=[UNKNOWN]))
        answer.counts[1 - position], answer.refused[0].position = 1, position
        answer.ids.append("x")
        answer.distances.append(0.5)
    server.script("FindSimilarBatch", reply)
    first, second = db.find_similar_many(ids=["a", "b"])
    assert [(list(answer), answer.error) for answer in (first, second)] == [
        (["m"], None),
        (["n"], None),
    ]
    with pytest.raises(euclidesdb.UnknownItem):
        first["n"]


def test_without_models_an_item_that_no_model_has_is_refused(db, server):
    reply = echo(pb.FindSimilarBatchRequest(models=["m"], queries=[pb.Query(id="a")]))
    reply.answers[0].CopyFrom(pb.BatchAnswer(model="m", counts=[1, 0], refused=[UNKNOWN]))
    reply.answers[0].ids.append("x")
    reply.answers[0].distances.append(0.5)
    server.script("FindSimilarBatch", reply)
    first, second = db.find_similar_many(ids=["a", "b"])
    assert (first.error, type(second.error)) == (None, euclidesdb.UnknownItem)


def test_without_models_an_image_that_cannot_be_read_is_refused_alone(db, server, tmp_path):
    server.script("FindSimilarBatch", choosing("m"))
    one, missing = db.find_similar_many(images=[b"one", tmp_path / "nowhere.png"])
    assert (one.error, one["m"].ids) == (None, ("one",))
    assert (list(missing), type(missing.error)) == (["m"], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        missing["m"]
    with pytest.raises(KeyError, match="other"):
        missing["other"]


def test_without_models_an_image_that_is_alone_and_cannot_be_read_is_refused(db, server, tmp_path):
    (missing,) = db.find_similar_many(images=[tmp_path / "nowhere.png"])
    assert (list(missing), type(missing.error)) == ([], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        missing["any"]
    assert not any(server.requests.values())


@pytest.mark.parametrize(
    "queries",
    [{"ids": []}, {"images": iter(())}, {"vectors": []}, {"vectors": np.empty((0, 7))}],
    ids=["ids", "images", "list of vectors", "matrix"],
)
def test_no_queries_need_no_call(db, server, queries):
    assert db.find_similar_many(**queries, model="m") == ()
    assert not any(server.requests.values())


@pytest.mark.parametrize(
    ("queries", "sizes"),
    [
        ({"ids": [str(number) for number in range(2100)]}, [1024, 1024, 52]),
        ({"images": (str(number).encode() for number in range(130))}, [64, 64, 2]),
        ({"vectors": np.arange(2100)[:, None]}, [1024, 1024, 52]),
    ],
    ids=["ids", "images", "vectors"],
)
def test_more_queries_than_a_call_takes_are_answered_in_order(db, server, queries, sizes):
    server.script("FindSimilarBatch", echo)
    answers = db.find_similar_many(**queries, model="m")
    found = [answer["m"].ids[0] for answer in answers]
    assert found == [str(number) for number in range(sum(sizes))]
    replies = map(echo, server.requests["FindSimilarBatch"])
    assert [len(reply.answers[0].counts) for reply in replies] == sizes


def test_large_queries_make_smaller_calls(db, server):
    server.script("FindSimilarBatch", echo)
    db.find_similar_many(images=[b"x" * (3 << 20)] * 5, model="m")
    db.find_similar_many(vectors=np.ones((250, 20_000), np.float32), model="m")
    assert [
        len(request.queries) or request.vectors.values.shape[0]
        for request in server.requests["FindSimilarBatch"]
    ] == [2, 2, 1, 104, 104, 42]


def test_a_large_top_k_makes_smaller_calls(db, server):
    server.script("FindSimilarBatch", echo)
    db.find_similar_many(vectors=np.ones((450, 1)), model="m", top_k=1000)
    assert [request.vectors.values.shape[0] for request in server.requests["FindSimilarBatch"]] == [
        200,
        200,
        50,
    ]


def test_each_query_gets_its_own_rows_of_the_columns(db, server):
    answer = pb.BatchAnswer(
        model="m",
        fingerprint="f1",
        metric="l2",
        counts=[2, 0, 1],
        ids=["a", "b", "c"],
        distances=[0.5, 1.5, 2.5],
        attributes_json=["{}", '{"size": 40}', "{}"],
        metadata=[b"x", b"", b"z"],
    )
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    first, second, third = (
        each["m"]
        for each in db.find_similar_many(
            ids=["p", "q", "r"], model="m", include_attributes=True, include_metadata=True
        )
    )
    assert (first.model, first.fingerprint, first.metric) == ("m", "f1", "l2")
    assert list(first) == [
        euclidesdb.Neighbor("a", 0.5, {}, b"x"),
        euclidesdb.Neighbor("b", 1.5, {"size": 40}, b""),
    ]
    assert (len(second), list(second)) == (0, [])
    assert list(third) == [euclidesdb.Neighbor("c", 2.5, {}, b"z")]
    assert (third.distances.dtype, third.distances.flags.writeable) == (np.float32, False)


def test_parts_that_were_not_requested_are_none_in_each_answer(db, server):
    server.script("FindSimilarBatch", echo)
    (answer,) = db.find_similar_many(ids=["a"], model="m")
    assert (answer["m"].attributes, answer["m"].metadata) == (None, None)


def test_a_refused_query_raises_when_looked_at_and_the_others_answer(db, server):
    reply = echo(pb.FindSimilarBatchRequest(models=["m"], queries=[pb.Query(id="a")] * 2))
    reply.answers[0].counts[:] = [1, 0, 1]
    reply.answers[0].refused.append(UNKNOWN)
    server.script("FindSimilarBatch", reply)
    first, second, third = db.find_similar_many(ids=["a", "b", "c"], model="m")
    assert [first.error, third.error] == [None, None]
    assert len(first["m"]) == len(third["m"]) == 1
    assert type(second.error) is euclidesdb.UnknownItem
    assert "no item 'b'" in repr(second)
    with pytest.raises(euclidesdb.UnknownItem, match="no item 'b'"):
        second["m"]


def test_looking_for_a_model_in_a_refused_answer_raises_nothing(db, server, tmp_path):
    reply = echo(pb.FindSimilarBatchRequest(models=["m"], queries=[pb.Query(id="a")] * 2))
    reply.answers[0].CopyFrom(pb.BatchAnswer(model="m", counts=[1, 0], refused=[UNKNOWN]))
    reply.answers[0].ids.append("x")
    reply.answers[0].distances.append(0.5)
    server.script("FindSimilarBatch", reply)
    images = [b"one", b"two", tmp_path / "nowhere.png"]
    answers = db.find_similar_many(images=images, model="m")
    for answer in answers:
        assert ("m" in answer, "m" in answer.keys(), "other" in answer) == (True, True, False)  # noqa: SIM118
        assert answer != dict.fromkeys(answer)
        assert answer in {*answers}


def test_a_query_refused_by_one_model_is_answered_by_the_other(db, server):
    reply = echo(pb.FindSimilarBatchRequest(models=["m", "n"], queries=[pb.Query(id="a")]))
    reply.answers[1].CopyFrom(pb.BatchAnswer(model="n", counts=[0], refused=[UNKNOWN]))
    reply.answers[1].refused[0].position = 0
    server.script("FindSimilarBatch", reply)
    (answer,) = db.find_similar_many(ids=["a"], models=["m", "n"])
    assert answer["m"].ids == ("a",)
    assert type(answer.error) is euclidesdb.UnknownItem
    with pytest.raises(euclidesdb.UnknownItem):
        answer["n"]
    with pytest.raises(KeyError, match="other"):
        answer["other"]


@pytest.mark.parametrize(
    "columns",
    [
        {"counts": [1], "ids": ["a"], "distances": [1]},
        {"counts": [1, 1, 0], "ids": ["a", "b"], "distances": [1, 2]},
        {"counts": [1, 1], "ids": ["a"], "distances": [1, 2]},
        {"counts": [1, 1], "ids": ["a", "b"], "distances": [1]},
    ],
    ids=["a count too few", "a count too many", "ids", "distances"],
)
def test_columns_that_contradict_one_another_are_a_server_error(db, server, columns):
    answer = pb.BatchAnswer(model="m", **columns)
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    with pytest.raises(euclidesdb.ServerError, match="for 2 queries"):
        db.find_similar_many(ids=["a", "b"], model="m")


def test_missing_requested_attributes_are_a_server_error(db, server):
    server.script("FindSimilarBatch", echo)
    with pytest.raises(euclidesdb.ServerError):
        db.find_similar_many(ids=["a"], model="m", include_attributes=True)
    with pytest.raises(euclidesdb.ServerError):
        db.find_similar_many(ids=["a"], model="m", include_metadata=True)


def test_a_call_that_fails_as_a_whole_raises_its_error(db, server):
    fault = Fault(grpc.StatusCode.NOT_FOUND, "unknown_model", "no model 'm'")
    server.script("FindSimilarBatch", fault)
    with pytest.raises(euclidesdb.UnknownModel, match="no model 'm'"):
        db.find_similar_many(vectors=[[1]], model="m")


def test_a_silent_server_is_left_when_the_timeout_of_the_call_passes(db, server):
    server.script("FindSimilarBatch", Silence())
    with pytest.raises(euclidesdb.DeadlineExceeded):
        db.find_similar_many(ids=["a"], model="m", timeout=0.2)


@pytest.mark.parametrize(
    ("name", "kind"), [("nowhere.png", FileNotFoundError), (".", IsADirectoryError)]
)
def test_an_image_that_cannot_be_read_is_refused_alone(db, server, tmp_path, name, kind):
    server.script("FindSimilarBatch", echo)
    images = [b"one", tmp_path / name, b"two"]
    one, missing, two = db.find_similar_many(images=images, models=["m", "n"])
    assert [(each["m"].ids, each["n"].ids, each.error) for each in (one, two)] == [
        (("one",), ("one",), None),
        (("two",), ("two",), None),
    ]
    assert list(missing) == ["m", "n"]
    assert type(missing.error) is kind
    assert missing.error.filename == str(tmp_path / name)
    with pytest.raises(kind):
        missing["n"]
    with pytest.raises(KeyError, match="other"):
        missing["other"]


def test_images_that_cannot_be_read_keep_the_order_of_the_others(db, server, tmp_path):
    server.script("FindSimilarBatch", echo)
    images = [str(number).encode() for number in range(200)]
    missing = [0, 63, 64, 65, 130, 199]
    for position in missing:
        images[position] = tmp_path / "nowhere.png"
    answers = db.find_similar_many(images=images, model="m")
    assert [position for position, answer in enumerate(answers) if answer.error] == missing
    for position, answer in enumerate(answers):
        if position not in missing:
            assert answer["m"].ids == (str(position),)
    assert [len(request.queries) for request in server.requests["FindSimilarBatch"]] == [
        64,
        64,
        64,
        2,
    ]


def test_if_no_image_can_be_read_nothing_is_sent(db, server):
    first, second = db.find_similar_many(images=[np.zeros((8, 8), int), 7], model="m")
    assert [type(answer.error) for answer in (first, second)] == [TypeError, TypeError]
    assert not any(server.requests.values())


def test_a_refused_query_names_the_file_of_its_image_and_its_reason(db, server, tmp_path):
    photo, missing = tmp_path / "photo.png", tmp_path / "missing.png"
    photo.write_bytes(b"no image")
    refusal = pb.Refusal(position=1, code=3, reason="undecodable_input", message="not an image")
    answer = pb.BatchAnswer(model="m", counts=[1, 0], ids=["a"], distances=[0.0], refused=[refusal])
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    found = db.find_similar_many(images=[b"an image", missing, photo], model="m")
    assert [each.reason for each in found] == ["", "not_sent", "undecodable_input"]
    assert str(missing) in str(found[1].error)
    with pytest.raises(euclidesdb.UndecodableInput) as raised:
        found[2]["m"]
    assert str(raised.value) == f"not an image (image {str(photo)!r})"
    assert raised.value.reason == "undecodable_input"


def test_answers_are_one_table_and_print_with_what_was_refused(db, server):
    answer = pb.BatchAnswer(
        model="m",
        counts=[2, 0, 1],
        ids=["x", "y", "z"],
        distances=[0, 1, 2],
        refused=[UNKNOWN],
    )
    server.script("FindSimilarBatch", pb.FindSimilarBatchReply(answers=[answer]))
    answers = db.find_similar_many(ids=["a", "b", "c"], model="m")
    table = answers.to_arrow()
    assert table.column("query").to_pylist() == [0, 0, 2]
    assert table.column("id").to_pylist() == ["x", "y", "z"]
    assert [*answers.errors] == [1]
    assert answers[0].to_pandas()["rank"].tolist() == [1, 2]
    assert repr(answers).splitlines() == [
        "3 answers:",
        "  0  m        x (0.0000), y (1.0000)",
        "  1  refused  no item 'b'",
        "  2  m        z (2.0000)",
    ]
    assert repr(answers[1]) == "refused: no item 'b'"
    html = answers._repr_html_()
    assert "query 1: refused" in html
    assert "&#x27;b&#x27;" in html
