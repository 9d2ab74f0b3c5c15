"""Texts and tensors: what is sent of them, what is refused here, and what comes back."""

from typing import cast

import numpy as np
import pytest
import torch

import euclidesdb
from euclidesdb import NewItem, _payloads
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1.wire import DTYPES
from tests.support.cases import each_as_subtest

DATA_TYPES = {dtype: data_type for data_type, dtype in DTYPES.items()}


def values(dtype, shape=(2, 3)):
    """Numbers of both signs where the dtype has them."""
    numbers = np.random.default_rng(5).integers(-100, 100, shape)
    return (numbers > 0 if dtype == "?" else numbers).astype(dtype)


def message(array, data_type=pb.DATA_TYPE_FLOAT32):
    return pb.Array(data_type=data_type, shape=array.shape, data=array.tobytes())


def sent(server):
    return server.requests["AddItem"][-1].payload


def counted(request):
    """Answers each query with how many the call has."""
    count = len(request.queries)
    return pb.FindSimilarBatchReply(
        answers=[
            pb.BatchAnswer(
                model=name, counts=[1] * count, ids=[str(count)] * count, distances=[0] * count
            )
            for name in request.models
        ]
    )


def test_a_text_is_sent_as_it_is(db, server):
    db.add("a", text="naïve 🦊\n", models=["prose"])
    payload = pb.Payload(text="naïve 🦊\n")
    assert server.requests["AddItem"] == [
        pb.AddItemRequest(id="a", payload=payload, models=["prose"])
    ]


@pytest.mark.parametrize("dtype", DATA_TYPES)
def test_a_tensor_is_sent_with_its_own_dtype(db, server, dtype):
    array = values(dtype)
    db.add("a", tensor=array, models=["m"])
    assert sent(server) == pb.Payload(tensor=message(array, DATA_TYPES[dtype]))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">i2", ">i4", ">i8"])
def test_a_big_endian_tensor_arrives_little_endian(db, server, dtype):
    array = values(dtype)
    db.add("a", tensor=array, models=["m"])
    little = dtype.replace(">", "<")
    assert sent(server).tensor == message(array.astype(little), DATA_TYPES[little])


@pytest.mark.parametrize(
    "array",
    [
        values("<f4", (4, 6)).T,
        np.asfortranarray(values("<f4", (4, 6))),
        values("<f4", (8, 6))[::-2, 1::3],
        np.broadcast_to(values("<f4", (3,)), (4, 3)),
        np.float32(1.5),
        np.empty((0, 3), np.float32),
    ],
    ids=["transposed", "Fortran", "strided", "broadcast", "scalar", "empty"],
)
def test_a_tensor_arrives_in_c_order_with_its_shape(db, server, array):
    db.add("a", tensor=array, models=["m"])
    tensor = sent(server).tensor
    assert tuple(tensor.shape) == array.shape
    np.testing.assert_array_equal(np.frombuffer(tensor.data, "<f4").reshape(array.shape), array)


def test_a_list_is_sent_with_the_dtype_that_numpy_gives_it(db, server):
    db.add("a", tensor=[[1, 2], [3, 4]], models=["m"])
    assert sent(server).tensor == message(np.array([[1, 2], [3, 4]], "<i8"), pb.DATA_TYPE_INT64)


def test_a_tensor_of_bfloat16_is_sent_as_float32_which_has_all_of_its_values(db, server):
    tensor = torch.tensor([1.5, -3e38, 2**-130], dtype=torch.bfloat16)
    expected = message(tensor.float().numpy())
    db.add("a", tensor=tensor, models=["m"])
    assert sent(server).tensor == expected
    db.add("a", vectors={"m": tensor})
    assert server.requests["AddItem"][-1].vectors["m"].values == expected
    db.add_vectors(["a", "b"], [tensor, tensor], model="m")
    assert server.requests["AddVectors"][-1].vectors.data == 2 * expected.data
    pixels = torch.full((3, 8, 8), 0.5, dtype=torch.bfloat16)
    db.add("a", image=pixels, models=["m"])
    white = sent(server).image
    db.add("a", image=pixels.float(), models=["m"])
    assert sent(server).image == white


def test_a_torch_tensor_is_sent_unchanged(db, server):
    tensor = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    db.add("a", tensor=tensor.T, models=["m"])
    assert sent(server).tensor == message(tensor.T.numpy(), pb.DATA_TYPE_FLOAT16)


@pytest.mark.parametrize(
    ("tensor", "error", "text"),
    [
        (np.zeros(2, np.uint16), TypeError, "float32, .*, not uint16"),
        (np.zeros(2, np.complex64), TypeError, "not complex64"),
        (np.zeros(2, np.longdouble), TypeError, f"not {np.dtype(np.longdouble)}"),
        (np.zeros(2, "M8[s]"), TypeError, r"not datetime64\[s\]"),
        (np.zeros(2, [("x", "f4")]), TypeError, "not .*'x'"),
        pytest.param([object()], TypeError, "not object", id="objects"),
        ("a text", TypeError, "not <U6"),
        ([[1], [2, 3]], ValueError, "inhomogeneous"),
        (np.ma.masked_equal([1, 2], 2), ValueError, r"tensor is a masked array: .*value\.filled"),
        ([np.ma.masked_equal([1, 2], 2)], ValueError, "tensor is a masked array"),
        (torch.ones(2, requires_grad=True), ValueError, "requires grad"),
        (torch.ones(2, dtype=torch.float8_e5m2), TypeError, "Float8"),
    ],
    ids=repr,
)
def test_an_invalid_tensor_is_refused_and_named(db, server, tensor, error, text):
    with pytest.raises(error, match=text):
        db.add("a", tensor=tensor, models=["m"])
    assert not any(server.requests.values())


@each_as_subtest(
    ("call", "error", "text"),
    [
        (
            lambda db: db.add("a", image=b"", text="", models=["m"]),
            ValueError,
            "one of image, text and tensor, not image and text",
        ),
        (
            lambda db: db.find_similar(text="x", tensor=[1], model="m"),
            ValueError,
            "one of image, text, tensor, id, vector and examples, not text and tensor",
        ),
        (lambda db: db.find_similar(model="m"), ValueError, "not none"),
        (
            lambda db: db.find_similar_many(texts=["x"], images=[b""], model="m"),
            ValueError,
            "one of images, texts, tensors, ids, vectors and examples, not images and texts",
        ),
        (
            lambda db: db.add("a", text=b"bytes", models=["m"]),
            TypeError,
            "text must be a str, not bytes: b'bytes'",
        ),
        (
            lambda db: db.add("a", text="x" * 10_000 + "\ud800", models=["m"]),
            ValueError,
            r"text must be valid Unicode, which 'x{20}\\ud800' is not",
        ),
        (lambda db: db.find_similar(text=5, model="m"), TypeError, "text must be a str, not int"),
        (
            lambda db: db.find_similar_many(texts="one text", model="m"),
            TypeError,
            r"texts must be an iterable, such as \[text\], not a single str",
        ),
        (lambda db: db.find_similar_many(texts=b"x", model="m"), TypeError, "not a single bytes"),
        (
            lambda db: db.find_similar_many(tensors=np.zeros(16_000), model="m"),
            TypeError,
            r"tensors must be an iterable, such as \[tensor\], not a single ndarray",
        ),
        (
            lambda db: db.find_similar_many(tensors=torch.zeros(9), model="m"),
            TypeError,
            "not a single Tensor",
        ),
        (
            lambda db: db.find_similar(text="x", fingerprint="f", model="m"),
            ValueError,
            "fingerprint goes with a vector",
        ),
        (
            lambda db: db.find_similar_many(texts=["x"], fingerprint="f", model="m"),
            ValueError,
            "fingerprint goes with vectors",
        ),
        (lambda db: db.load_model(5), TypeError, "folder must be a str"),
        (lambda db: db.load_model("m", timeout=0), ValueError, "positive number"),
        (lambda db: db.unload_model(None), TypeError, "name must be a str"),
        (lambda db: db.drop_model_version(None), TypeError, "name must be a str"),
    ],
)
def test_an_invalid_query_is_refused_before_anything_is_sent(db, server, call, error, text):
    with pytest.raises(error, match=text):
        call(db)
    assert not any(server.requests.values())


def test_texts_and_tensors_are_added_among_many(db, server):
    tensor = values("<f4")
    items = [
        NewItem("a", text="x", models=["m"]),
        NewItem("b", text="x", tensor=tensor, models=["m"]),
        NewItem("c", tensor=tensor, models=["m"]),
    ]
    (refused,) = db.add_many(items)
    assert (refused.position, type(refused.error)) == (1, ValueError)
    (request,) = server.requests["AddItems"]
    assert [item.payload for item in request.items] == [
        pb.Payload(text="x"),
        pb.Payload(tensor=message(tensor)),
    ]


@pytest.mark.parametrize(
    ("asked", "payload"),
    [
        ({"text": ""}, pb.Payload(text="")),
        ({"tensor": np.zeros((1, 2), "<f4")}, pb.Payload(tensor=message(np.zeros((1, 2), "<f4")))),
    ],
    ids=["text", "tensor"],
)
def test_find_similar_asks_by_text_or_tensor(db, server, asked, payload):
    db.find_similar(**asked, model="m", top_k=3)
    query = pb.Query(payload=payload)
    assert server.requests["FindSimilar"] == [
        pb.FindSimilarRequest(query=query, models=["m"], top_k=3)
    ]


def test_many_texts_are_cut_into_calls_by_number(db, server):
    server.script("FindSimilarBatch", counted)
    answers = db.find_similar_many(texts=map(str, range(300)), model="m")
    assert [answer["m"].ids[0] for answer in answers] == ["128"] * 256 + ["44"] * 44
    texts = [
        query.payload.text
        for request in server.requests["FindSimilarBatch"]
        for query in request.queries
    ]
    assert texts == [str(number) for number in range(300)]


def test_many_tensors_are_the_rows_of_one_array(db, server):
    server.script("FindSimilarBatch", counted)
    array = values("<i2", (66, 3, 2))
    assert len(db.find_similar_many(tensors=array, model="m")) == 66
    requests = server.requests["FindSimilarBatch"]
    assert [len(request.queries) for request in requests] == [64, 2]
    arrived = [query.payload.tensor for request in requests for query in request.queries]
    assert arrived == [message(row, pb.DATA_TYPE_INT16) for row in array]


@pytest.mark.parametrize(
    "queries",
    [{"texts": ["x" * (3 << 20)] * 3}, {"tensors": np.zeros((3, 3 << 20), np.int8)}],
    ids=["texts", "tensors"],
)
def test_large_texts_and_tensors_make_smaller_calls(db, server, queries):
    server.script("FindSimilarBatch", counted)
    db.find_similar_many(**queries, model="m")
    assert [len(request.queries) for request in server.requests["FindSimilarBatch"]] == [2, 1]


def test_a_text_that_cannot_be_sent_is_refused_alone(db, server):
    server.script("FindSimilarBatch", counted)
    first, second, third, last = db.find_similar_many(texts=["x", 5, "\ud800", "y"], model="m")
    assert [first["m"].ids, last["m"].ids] == [("2",), ("2",)]
    assert [type(second.error), type(third.error)] == [TypeError, ValueError]


@pytest.mark.parametrize("dtype", DATA_TYPES)
def test_a_stored_tensor_comes_back_as_it_was_added(db, server, dtype):
    array = values(dtype, (2, 1, 3))
    db.add("a", tensor=array, models=["m"])
    server.script("GetItem", pb.GetItemReply(item=pb.Item(id="a", payload=sent(server))))
    item = db.get("a", include_payload=True)
    assert (item.image, item.text) == (None, None)
    assert (item.tensor.dtype, item.tensor.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(item.tensor, array)
    assert not item.tensor.flags.writeable


@pytest.mark.parametrize("shape", [(), (0, 3)], ids=["scalar", "empty"])
def test_a_stored_tensor_of_an_odd_shape_comes_back(db, server, shape):
    tensor = message(np.ones(shape, "<f4"))
    server.script("GetItem", pb.GetItemReply(item=pb.Item(payload=pb.Payload(tensor=tensor))))
    assert db.get("a", include_payload=True).tensor.shape == shape


def test_a_stored_text_comes_back(db, server):
    server.script("GetItem", pb.GetItemReply(item=pb.Item(payload=pb.Payload(text=""))))
    item = db.get("a", include_payload=True)
    assert (item.image, item.text, item.tensor) == (None, "", None)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (pb.Array(data_type=cast(pb.DataType, 77), shape=[1], data=b"x"), "unknown data_type 77"),
        (
            pb.Array(data_type=pb.DATA_TYPE_INT16, shape=[2, 2], data=bytes(7)),
            "7 bytes for an array of int16",
        ),
        (pb.Array(data_type=pb.DATA_TYPE_INT8, shape=[-2, -2], data=bytes(4)), r"\(-2, -2\)"),
    ],
    ids=["data type", "length", "shape"],
)
def test_a_reply_with_a_tensor_that_contradicts_itself_is_a_server_error(db, server, tensor, text):
    server.script("GetItem", pb.GetItemReply(item=pb.Item(payload=pb.Payload(tensor=tensor))))
    with pytest.raises(euclidesdb.ServerError, match=text):
        db.get("a", include_payload=True)


@pytest.mark.parametrize(
    "array",
    [message(values("<i4", (3,)), pb.DATA_TYPE_INT32), message(values("<f4", (1, 3)))],
    ids=["type", "shape"],
)
def test_a_reply_with_a_vector_of_another_type_or_shape_is_a_server_error(db, server, array):
    embedding = pb.Embedding(model="m", vector=array)
    server.script("GetItem", pb.GetItemReply(item=pb.Item(embeddings=[embedding])))
    with pytest.raises(euclidesdb.ServerError, match=r"3,?\) for a vector"):
        db.get("a", include_vectors=True)


def test_every_kind_of_raw_item_of_the_protocol_is_in_the_table():
    assert [*_payloads.KINDS] == [
        field.name for field in pb.Payload.DESCRIPTOR.oneofs_by_name["content"].fields
    ]
