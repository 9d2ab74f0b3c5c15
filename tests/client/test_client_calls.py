"""What each method sends, and what it makes of the reply."""

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.cases import each_as_subtest


def array(*values):
    data = np.array(values, dtype="<f4").tobytes()
    return pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[len(values)], data=data)


def test_add_sends_all_it_is_given(db, server):
    db.add(
        "sku-ü",
        image=b"bytes of an image",
        models=["digits", "resnet18"],
        vectors={"other": [1, 2.5], "third": euclidesdb.ModelVector(np.ones(1), "f9")},
        attributes={"brand": "ü", "sizes": [40, 41]},
        metadata=b"\x00\xff",
        include_vectors=True,
        include_predictions=True,
    )
    assert server.requests["AddItem"] == [
        pb.AddItemRequest(
            id="sku-ü",
            payload=pb.Payload(image=b"bytes of an image"),
            models=["digits", "resnet18"],
            vectors={
                "other": pb.Vector(values=array(1, 2.5)),
                "third": pb.Vector(values=array(1), fingerprint="f9"),
            },
            attributes_json='{"brand": "ü", "sizes": [40, 41]}',
            metadata=b"\x00\xff",
            include_vectors=True,
            include_predictions=True,
        )
    ]


def test_add_leaves_unset_what_it_is_not_given(db, server):
    db.add("a", vectors={"m": [1]})
    vectors = {"m": pb.Vector(values=array(1))}
    assert server.requests["AddItem"] == [pb.AddItemRequest(id="a", vectors=vectors)]


def test_empty_attributes_and_metadata_are_sent_to_replace_what_is_stored(db, server):
    db.add("a", vectors={"m": [1]}, attributes={}, metadata=b"")
    (request,) = server.requests["AddItem"]
    assert (request.HasField("attributes_json"), request.attributes_json) == (True, "{}")
    assert (request.HasField("metadata"), request.metadata) == (True, b"")


def test_numbers_of_numpy_in_attributes_arrive_as_the_numbers_that_they_are(db, server):
    attributes = {
        "price": np.float32(0.1),
        "half": np.float16(0.5),
        "exact": np.float64(0.1),
        "long": np.longdouble(0.25),
        "count": np.int64(-(2**63)),
        "byte": np.uint8(255),
        "sold": np.bool_(True),
        "sizes": [np.int32(40), {"eu": np.int16(41)}],
    }
    db.add("a", vectors={"m": [1]}, attributes=attributes)
    db.add_vectors(["a"], [[1]], model="m", attributes=[attributes])
    sent = server.requests["AddItem"][0].attributes_json
    assert json.loads(sent) == {
        "price": float(np.float32(0.1)),
        "half": 0.5,
        "exact": 0.1,
        "long": 0.25,
        "count": -(2**63),
        "byte": 255,
        "sold": True,
        "sizes": [40, {"eu": 41}],
    }
    assert '"sold": true' in sent
    assert server.requests["AddVectors"][0].attributes_json == [sent]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, "not nan under 'x'"),
        (np.float32("inf"), ValueError, "inf.* under 'x'"),
        ([1.5, -math.inf], ValueError, r"not \[1.5, -inf\] under 'x'"),
        ({1}, TypeError, r"not \{1\} under 'x': JSON has no set"),
        (1j, TypeError, "not 1j under 'x'"),
        (np.zeros(2), TypeError, r"not array.* under 'x': JSON has no ndarray"),
        (np.timedelta64(5), TypeError, "under 'x': JSON has no timedelta64"),
        ("\ud800", ValueError, r"not '\\ud800' under 'x'"),
    ],
    ids=repr,
)
def test_a_value_that_json_cannot_carry_is_named_with_its_key_and_its_item(
    db, server, value, error, message
):
    attributes = {"fine": 1, "x": value}
    with pytest.raises(error, match=message) as raised:
        db.add("sku-1", vectors={"m": [1]}, attributes=attributes)
    assert str(raised.value).startswith("attributes of 'sku-1' must hold JSON values")
    with pytest.raises(error, match=message) as raised:
        db.add_vectors(["a", "b"], [[1], [2]], model="m", attributes=[{}, attributes])
    assert str(raised.value).startswith("attributes[1] must hold JSON values")
    assert not any(server.requests.values())


def test_a_key_that_json_cannot_carry_is_named(db):
    with pytest.raises(TypeError, match=r"not 5 under \(1, 2\)"):
        db.add("a", vectors={"m": [1]}, attributes={(1, 2): 5})


def test_add_returns_the_embeddings_written(db, server):
    written = pb.Embedding(model="m", fingerprint="f1", vector=array(1, 2), predictions=array(0.5))
    server.script(
        "AddItem", pb.AddItemReply(embeddings=[written, pb.Embedding(model="n", fingerprint="f2")])
    )
    first, second = db.add("a", image=b"", models=["m", "n"], include_vectors=True)
    assert (first.model, first.fingerprint) == ("m", "f1")
    assert (first.vector.tolist(), first.predictions.tolist()) == ([1, 2], [0.5])
    assert (second.vector, second.predictions) == (None, None)


def test_arrays_of_a_reply_are_float32_and_read_only(db, server):
    embedding = pb.Embedding(model="m", vector=array(1, 2))
    server.script("GetItem", pb.GetItemReply(item=pb.Item(id="a", embeddings=[embedding])))
    vector = db.get("a", include_vectors=True).embeddings[0].vector
    assert (vector.dtype, vector.shape) == (np.float32, (2,))
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 0


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-3, 3, 7, dtype=np.float64),
        np.linspace(-3, 3, 7, dtype=">f4"),
        np.linspace(-3, 3, 14, dtype=np.float32)[::2],
        np.arange(7, dtype=np.uint8),
        [0.5, -2, 7],
        [],
        np.array([np.nan, np.inf, 1e300]),
    ],
    ids=["float64", "big-endian", "strided", "uint8", "list", "empty", "not finite"],
)
def test_a_vector_arrives_as_little_endian_float32(db, server, values):
    db.add("a", vectors={"m": values})
    sent = server.requests["AddItem"][0].vectors["m"].values
    with np.errstate(over="ignore"):
        expected = np.asarray(values).astype("<f4")
    assert sent.data_type == pb.DATA_TYPE_FLOAT32
    assert list(sent.shape) == [len(values)]
    np.testing.assert_array_equal(np.frombuffer(sent.data, "<f4"), expected)


def test_get_returns_the_item(db, server):
    server.script(
        "GetItem",
        pb.GetItemReply(
            item=pb.Item(
                id="a",
                attributes_json='{"size": 40}',
                metadata=b"m",
                embeddings=[
                    pb.Embedding(model="m", fingerprint="f1", predictions=array(1)),
                    pb.Embedding(model="m", fingerprint="f2"),
                    pb.Embedding(model="n", fingerprint="f3"),
                ],
                payload=pb.Payload(image=b"as added"),
            )
        ),
    )
    item = db.get("a", include_predictions=True, include_payload=True)
    assert (item.id, item.attributes, item.metadata) == ("a", {"size": 40}, b"m")
    assert item.image == b"as added"
    assert item.models == ("m", "n")
    assert [embedding.fingerprint for embedding in item.embeddings] == ["f1", "f2", "f3"]
    assert server.requests["GetItem"] == [
        pb.GetItemRequest(id="a", include_predictions=True, include_payload=True)
    ]


def test_an_item_without_payload_has_no_image(db, server):
    server.script("GetItem", pb.GetItemReply(item=pb.Item(id="a", attributes_json="{}")))
    item = db.get("a")
    assert (item.image, item.attributes, item.metadata) == (None, {}, b"")


def test_remove_sends_the_id(db, server):
    assert db.remove("a") is None
    assert server.requests["RemoveItem"] == [pb.RemoveItemRequest(id="a")]


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"image": b"an image"}, pb.Query(payload=pb.Payload(image=b"an image"))),
        ({"id": "a"}, pb.Query(id="a")),
        ({"vector": [1, 2]}, pb.Query(vector=pb.Vector(values=array(1, 2)))),
        (
            {"vector": [1], "fingerprint": "f1"},
            pb.Query(vector=pb.Vector(values=array(1), fingerprint="f1")),
        ),
        (
            {"vector": euclidesdb.ModelVector([1], "f1")},
            pb.Query(vector=pb.Vector(values=array(1), fingerprint="f1")),
        ),
    ],
)
def test_find_similar_asks_by_image_id_or_vector(db, server, asked, query):
    db.find_similar(**asked, model="m", top_k=3, include_self=True, include_metadata=True)
    assert server.requests["FindSimilar"] == [
        pb.FindSimilarRequest(
            query=query, models=["m"], top_k=3, include_self=True, include_metadata=True
        )
    ]


def test_find_similar_sends_max_distance_only_if_given(db, server):
    db.find_similar(id="a", model="m", max_distance=0)
    db.find_similar(id="a", model="m", max_distance=np.float32(0.5))
    db.find_similar(id="a", model="m")
    first, second, third = server.requests["FindSimilar"]
    assert (first.HasField("max_distance"), first.max_distance) == (True, 0)
    assert second.max_distance == 0.5
    assert not third.HasField("max_distance")


def test_answers_come_by_model_in_the_requested_order(db, server):
    server.script(
        "FindSimilar",
        lambda request: pb.FindSimilarReply(
            answers=[pb.ModelAnswer(model=name) for name in request.models]
        ),
    )
    assert list(db.find_similar(id="a", models=["z", "a", "m"])) == ["z", "a", "m"]


def test_neighbors_hold_columns_and_give_rows(db, server):
    found = [
        pb.Neighbor(id="a", distance=0.5, attributes_json='{"size": 40}', metadata=b"x"),
        pb.Neighbor(id="b", distance=1.5, attributes_json="{}", metadata=b""),
    ]
    answer = pb.ModelAnswer(model="m", fingerprint="f1", metric="l2", neighbors=found)
    server.script("FindSimilar", pb.FindSimilarReply(answers=[answer]))
    neighbors = db.find_similar(id="q", model="m", include_attributes=True, include_metadata=True)[
        "m"
    ]
    assert (neighbors.fingerprint, neighbors.metric) == ("f1", "l2")
    assert len(neighbors) == 2
    assert neighbors.ids == ("a", "b")
    assert neighbors.distances.dtype == np.float32
    assert not neighbors.distances.flags.writeable
    assert list(neighbors) == [
        euclidesdb.Neighbor("a", 0.5, {"size": 40}, b"x"),
        euclidesdb.Neighbor("b", 1.5, {}, b""),
    ]
    assert neighbors[0] == euclidesdb.Neighbor("a", 0.5, {"size": 40}, b"x")
    assert neighbors[-1] == neighbors[np.int64(1)] == euclidesdb.Neighbor("b", 1.5, {}, b"")
    with pytest.raises(IndexError, match="there are 2 neighbors: none is at 2"):
        neighbors[2]
    tail = neighbors[1:]
    assert isinstance(tail, euclidesdb.Neighbors)
    assert (tail.ids, tail.attributes, tail.metric) == (("b",), ({},), "l2")
    assert not tail.distances.flags.writeable
    assert list(tail) == [neighbors[1]]


def test_parts_that_were_not_requested_are_none(db, server):
    answer = pb.ModelAnswer(model="m", neighbors=[pb.Neighbor(id="a", distance=1)])
    server.script("FindSimilar", pb.FindSimilarReply(answers=[answer]))
    neighbors = db.find_similar(id="q", model="m")["m"]
    assert (neighbors.attributes, neighbors.metadata) == (None, None)
    assert list(neighbors) == [euclidesdb.Neighbor("a", 1.0, None, None)]
    assert neighbors[0] == euclidesdb.Neighbor("a", 1.0, None, None)
    assert (neighbors[:1].attributes, neighbors[:1].metadata) == (None, None)


@pytest.mark.parametrize(
    "query", [{"image": b"an image"}, {"text": "x"}, {"id": "a"}], ids=["image", "text", "id"]
)
def test_a_search_without_a_model_is_one_call_and_the_server_chooses(db, server, query):
    chosen = [pb.ModelAnswer(model=name) for name in ("b", "a")]
    server.script("FindSimilar", pb.FindSimilarReply(answers=chosen))
    assert list(db.find_similar(**query)) == ["b", "a"]
    assert [list(request.models) for request in server.requests.pop("FindSimilar")] == [[]]
    assert not any(server.requests.values())


def test_models_lists_what_the_server_has(db, server):
    full = pb.Model(
        name="digits",
        state=pb.MODEL_STATE_QUARANTINED,
        reason="feature_dim is wrong",
        input="image",
        feature_dim=64,
        prediction_dim=10,
        fingerprint="f1",
        engine="exact",
        metric="l2",
        items=3,
        labels=["zero", "one"],
        adopted=True,
        index=pb.Index(
            description="HNSW32",
            indexed_rows=2,
            unindexed_rows=1,
            segments=2,
            building=True,
            verifying=True,
            failure="too few",
            recall=0.75,
            recall_samples=40,
        ),
    )
    server.script(
        "ListModels",
        pb.ListModelsReply(models=[full, pb.Model(name="n", state=cast(pb.ModelState, 77))]),
    )
    digits, newer = db.models()
    assert digits == euclidesdb.ModelInfo(
        name="digits",
        state="quarantined",
        reason="feature_dim is wrong",
        input="image",
        feature_dim=64,
        prediction_dim=10,
        fingerprint="f1",
        engine="exact",
        metric="l2",
        items=3,
        labels=("zero", "one"),
        adopted=True,
        index=euclidesdb.IndexInfo(
            description="HNSW32",
            indexed_rows=2,
            unindexed_rows=1,
            segments=2,
            building=True,
            verifying=True,
            failure="too few",
            recall=0.75,
            recall_samples=40,
        ),
    )
    assert (newer.state, newer.index) == ("unknown", None)


def test_an_unmeasured_recall_is_none(db, server):
    served = [pb.Model(name="m", index=pb.Index(description="Flat"))]
    server.script("ListModels", pb.ListModelsReply(models=served))
    (info,) = db.models()
    assert info.index == euclidesdb.IndexInfo("Flat", 0, 0, 0, False, False, "", None, 0)


def test_a_reply_with_an_array_that_contradicts_itself_is_a_server_error(db, server):
    wrong = pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=[3], data=bytes(8))
    server.script("AddItem", pb.AddItemReply(embeddings=[pb.Embedding(vector=wrong)]))
    with pytest.raises(euclidesdb.ServerError, match="8 bytes"):
        db.add("a", vectors={"m": [1, 2]})


@each_as_subtest(
    ("call", "error", "message"),
    [
        (
            lambda db: db.get(5.0),
            TypeError,
            "id must be a str, an int or a uuid.UUID, not float: 5.0",
        ),
        (lambda db: db.get("a\ud800"), ValueError, r"id must be valid Unicode.*\\ud800"),
        (lambda db: db.add("a", models="digits"), TypeError, r"\['digits'\]"),
        (lambda db: db.add("a", metadata="text"), TypeError, "metadata must be bytes, not str"),
        (lambda db: db.add("a", metadata=5), TypeError, "metadata must be bytes, not int"),
        (lambda db: db.add("a", attributes=[1]), TypeError, "mapping, not list"),
        (lambda db: db.add("a", vectors={"m": [[1]]}), ValueError, r"\(dim,\), not \(1, 1\)"),
        (lambda db: db.add("a", vectors={"m": 1.0}), ValueError, r"\(dim,\), not \(\)"),
        (lambda db: db.add("a", vectors={"m": ["1"]}), TypeError, "real numbers"),
        (lambda db: db.add("a", vectors={"m": [1j]}), TypeError, "real numbers"),
        (lambda db: db.add("a", image=7), TypeError, "not int"),
        (lambda db: db.add("a"), ValueError, "nothing to add: give an image"),
        (lambda db: db.add("a", vectors={}), ValueError, "nothing to add"),
        (
            lambda db: db.add("a", models=["m"], vectors={"n": [1]}),
            ValueError,
            r"nothing to embed with models \['m'\]: image, text and tensor are None",
        ),
        (
            lambda db: db.add("a", vectors=np.ones(3)),
            TypeError,
            r"mapping \{model: vector\}, not ndarray",
        ),
        (lambda db: db.add("a", vectors=[1.0]), TypeError, "mapping .*, not list"),
        (lambda db: db.find_similar_many(images="a.png", model="m"), TypeError, "not a single str"),
        (lambda db: db.find_similar_many(images=b"", model="m"), TypeError, "not a single bytes"),
        (
            lambda db: db.find_similar_many(images=Path("a.png"), model="m"),
            TypeError,
            r"\[image\], not a single PosixPath",
        ),
        (lambda db: db.find_similar(), ValueError, "exactly one of"),
        (lambda db: db.find_similar(id="a", vector=[1]), ValueError, "exactly one of"),
        (lambda db: db.find_similar(id="a", model="m", models=["m"]), ValueError, "not both"),
        (lambda db: db.find_similar(vector=[1]), ValueError, "name it with model="),
        (lambda db: db.find_similar(id="a", fingerprint="f"), ValueError, "with a vector"),
        (lambda db: db.find_similar(id="a", top_k=2**31), ValueError, "2147483648"),
        (lambda db: db.find_similar(id="a", top_k=1.5), TypeError, "1.5"),
        (lambda db: db.find_similar(id="a", max_distance="far"), TypeError, "'far'"),
        (lambda db: db.find_similar(id="a", max_distance=10**400), ValueError, "max_distance"),
        (lambda db: db.add_many([], bytes_per_call="8"), TypeError, "bytes_per_call .* str: '8'"),
        (lambda db: db.add_many([], bytes_per_call=0), ValueError, "at least 1.*not 0"),
        (
            lambda db: db.add_vectors([], [], model="m", bytes_per_call=math.nan),
            ValueError,
            "bytes_per_call .*not nan",
        ),
        (lambda db: db.find_similar_many(model="m"), ValueError, "exactly one of"),
        (lambda db: db.find_similar_many(ids=["a"], images=[b""]), ValueError, "exactly one of"),
        (lambda db: db.find_similar_many(vectors=[[1]]), ValueError, "name it with model="),
        (lambda db: db.find_similar(id="a", models=[]), ValueError, "models must not be empty"),
        (lambda db: db.find_similar_many(ids=["a"], models=()), ValueError, "must not be empty"),
        (lambda db: db.find_similar_many(ids="abc", model="m"), TypeError, r"\['abc'\]"),
        (lambda db: db.find_similar_many(ids=["a", True], model="m"), TypeError, "not bool: True"),
        (lambda db: db.find_similar_many(vectors=[1], model="m"), ValueError, r"not \(1,\)"),
        (
            lambda db: db.find_similar_many(ids=["a"], fingerprint="f", model="m"),
            ValueError,
            "with vectors",
        ),
        (lambda db: db.add_vectors("ab", [[1], [2]], model="m"), TypeError, r"\['ab'\]"),
        (
            lambda db: db.add_vectors(["a", 5.0], [[1], [2]], model="m"),
            TypeError,
            r"ids\[1\].*not float: 5.0",
        ),
        (lambda db: db.add_vectors(["a", b"b"], [[1], [2]], model="m"), TypeError, "not bytes"),
        (lambda db: db.add_vectors(["\ud800"], [[1]], model="m"), ValueError, "valid Unicode"),
        (lambda db: db.add_vectors(["a"], [1], model="m"), ValueError, r"\(n, dim\), not \(1,\)"),
        (
            lambda db: db.add_vectors(["a"], [[1], [2]], model="m"),
            ValueError,
            "one per id: there are 1 ids, and vectors has 2",
        ),
        (lambda db: db.add_vectors(["a"], [["1"]], model="m"), TypeError, "real numbers"),
        (lambda db: db.add_vectors(["a"], [[1]], model=5), TypeError, "model must be a str"),
        (
            lambda db: db.add_vectors(["a"], [[1]], model="m", attributes=[]),
            ValueError,
            "attributes must be one per id: there are 1 ids, and attributes has 0",
        ),
        (
            lambda db: db.add_vectors(["a"], [[1]], model="m", metadata=[b"", b""]),
            ValueError,
            "metadata must be one per id: there are 1 ids, and metadata has 2",
        ),
        (lambda db: db.add_many([], timeout=0), ValueError, "positive number of seconds"),
        (lambda db: db.get("a", timeout=0), ValueError, "positive number of seconds"),
        (lambda _: euclidesdb.Client("x:1", timeout=-1), ValueError, "positive number"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_value(db, server, call, error, message):
    with pytest.raises(error, match=message):
        call(db)
    assert not any(server.requests.values())


@each_as_subtest(
    ("method", "flag"),
    [
        *(("add", each) for each in ("include_vectors", "include_predictions")),
        *(("get", each) for each in ("include_vectors", "include_predictions", "include_payload")),
        *(
            (method, each)
            for method in ("find_similar", "find_similar_many")
            for each in ("include_self", "include_attributes", "include_metadata")
        ),
    ],
)
def test_a_flag_that_is_not_a_bool_is_refused_and_named(db, server, method, flag):
    every: dict[str, dict[str, Any]] = {
        "add": {"id": "a", "vectors": {"m": [1.0]}},
        "get": {"id": "a"},
        "find_similar": {"id": "a", "model": "m"},
        "find_similar_many": {"ids": ["a"], "model": "m"},
    }
    arguments = every[method]
    for value, shown in (("no", "str: 'no'"), (1, "int: 1"), (None, "NoneType: None")):
        with pytest.raises(TypeError, match=f"^{flag} must be True or False, not {shown}$"):
            getattr(db, method)(**arguments, **{flag: value})
    assert not any(server.requests.values())


def test_a_flag_may_be_a_numpy_bool(db, server):
    db.get("a", include_vectors=np.bool_(True))
    assert server.requests["GetItem"][0].include_vectors


@each_as_subtest(
    ("call", "says"),
    [
        (
            lambda db: db.add("a", vectors={"digits": [[1, 2]]}),
            r"^the vector of model 'digits' must have the shape \(dim,\), not \(1, 2\)$",
        ),
        (
            lambda db: db.add("a", vectors={"digits": "red"}),
            "^the vector of model 'digits' must hold real numbers, not <U3: 'red'$",
        ),
        (
            lambda db: db.add("a", vectors={"digits": [[1], [2, 3]]}),
            "^the vector of model 'digits' cannot be read as an array: .*inhomogeneous",
        ),
        (lambda db: db.add("a", vectors=[1.0]), r"not list: \[1\.0\]$"),
        (
            lambda db: db.add("a", attributes=["red"]),
            r"'a' must be a mapping, not list: \['red'\]$",
        ),
        (lambda db: db.add("a", metadata="red"), "^metadata must be bytes, not str: 'red'$"),
        (lambda db: db.add("a", image=7, models=["m"]), "array, not int: 7$"),
        (lambda db: db.add("a", models=7), "^models must be an iterable of names, not int: 7$"),
        (lambda db: db.add("a", models=["m", 7]), r"^models\[1\] must be a str, not int: 7$"),
        (lambda db: db.add_many(7), "^items must be an iterable of NewItem, not int: 7$"),
        (lambda db: db.add_many(["red"]), "^item 0 must be a NewItem, not str: 'red'$"),
        (
            lambda db: db.add_vectors(["a", "b"], [[1], [2]], model="m", metadata=[b"", "red"]),
            r"^metadata\[1\] must be bytes, not str: 'red'$",
        ),
        (
            lambda db: db.find_similar_many(texts="red", model="m"),
            r"^texts must be an iterable, such as \[text\], not a single str: 'red'$",
        ),
        (lambda db: db.find_similar_many(texts=7), "^texts must be an iterable of texts, not int"),
        (
            lambda db: db.find_similar(id="a", top_k="ten"),
            "^top_k must be an integer, not str: 'ten'",
        ),
    ],
)
def test_an_invalid_argument_is_named_with_its_value(db, server, call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call(db)
    assert not any(server.requests.values())
