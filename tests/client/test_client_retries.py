"""Reads and writes with a key are repeated when the server is unavailable; nothing else is."""

import threading

import grpc
import pytest

import euclidesdb
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, ScriptedServer

UNAVAILABLE = Fault(grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(
    ("method", "call", "reply"),
    [
        ("FindSimilar", lambda db: db.find_similar(id="a", model="m"), pb.FindSimilarReply()),
        (
            "FindSimilarBatch",
            lambda db: db.find_similar_many(ids=["a"], model="m"),
            pb.FindSimilarBatchReply(),
        ),
        ("GetItem", lambda db: db.get("a"), pb.GetItemReply()),
        ("GetItems", lambda db: db.get_many(["a"]), pb.GetItemsReply(missing=[0])),
        ("GetItems", lambda db: db.exists("a"), pb.GetItemsReply(missing=[0])),
        ("ListModels", lambda db: db.models(), pb.ListModelsReply()),
    ],
)
def test_a_read_is_repeated_until_the_server_is_there(db, server, method, call, reply):
    server.script(method, UNAVAILABLE, reply)
    call(db)
    assert server.calls(method) == 2


def test_a_read_is_given_up_after_four_attempts(db, server):
    server.script("FindSimilar", UNAVAILABLE)
    with pytest.raises(euclidesdb.Unavailable):
        db.find_similar(id="a", model="m")
    assert server.calls("FindSimilar") == 4


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("LoadModel", lambda db: db.load_model("m")),
        ("UnloadModel", lambda db: db.unload_model("m")),
        ("DropModelVersion", lambda db: db.drop_model_version("m@f")),
    ],
)
def test_a_change_without_a_key_is_never_repeated(db, server, method, call):
    server.script(method, UNAVAILABLE, None)
    with pytest.raises(euclidesdb.Unavailable) as raised:
        call(db)
    assert raised.value.reason == "unavailable"
    assert server.calls(method) == 1


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("AddItem", lambda db: db.add("a", vectors={"m": [1]})),
        ("UpdateItem", lambda db: db.update("a", metadata=b"")),
        ("RemoveItem", lambda db: db.remove("a")),
        ("RemoveItems", lambda db: db.remove_many(["a"])),
        ("AddItems", lambda db: db.add_many([euclidesdb.NewItem("a", vectors={"m": [1]})])),
        ("AddVectors", lambda db: db.add_vectors(["a"], [[1]], model="m")),
    ],
)
def test_a_write_is_repeated_with_the_same_key_and_the_next_one_has_another(
    db, server, method, call
):
    server.script(method, UNAVAILABLE, None)
    call(db)
    call(db)
    first, again, next_call = server.keys[method]
    assert (first, len(first)) == (again, 16)
    assert next_call != first


def test_the_caller_chooses_how_often(server):
    server.script("GetItem", UNAVAILABLE)
    for retries, attempts in ((0, 1), (1, 2)):
        server.requests.clear()
        db = euclidesdb.Client(server.target, retries=retries)
        with db, pytest.raises(euclidesdb.Unavailable):
            db.get("a")
        assert server.calls("GetItem") == attempts
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=f"retries must be from 0 to 4, not {wrong}"):
            euclidesdb.Client(server.target, retries=wrong)
    with pytest.raises(TypeError, match="retries must be an integer"):
        euclidesdb.Client(server.target, retries="3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL], ids=str
)
def test_only_unavailable_is_repeated(db, server, status):
    server.script("FindSimilar", Fault(status))
    with pytest.raises(euclidesdb.EuclidesDBError):
        db.find_similar(id="a", model="m")
    assert server.calls("FindSimilar") == 1


def test_a_search_by_a_large_image_is_repeated_too(db, server):
    image = bytes(3 << 20)  # gRPC's own retry buffer ends at 256 KiB
    server.script("FindSimilar", UNAVAILABLE, pb.FindSimilarReply())
    db.find_similar(image=image, model="m")
    assert [len(request.query.payload.image) for request in server.requests["FindSimilar"]] == [
        len(image)
    ] * 2


def test_a_client_finds_a_server_that_was_restarted():
    with ScriptedServer() as first, euclidesdb.Client(first.target) as db:
        db.models()
        first.close()
        with ScriptedServer(port=first.port) as second:
            db.models()
            assert second.calls("ListModels") == 1


def test_eight_threads_share_one_client(db, server):
    def echo(request):
        neighbor = pb.Neighbor(id=request.query.id, distance=request.top_k)
        return pb.FindSimilarReply(answers=[pb.ModelAnswer(model="m", neighbors=[neighbor])])

    server.script("FindSimilar", echo)
    start = threading.Barrier(8)
    wrong = []

    def search(thread):
        start.wait(10)
        for number in range(50):
            answer = db.find_similar(id=f"{thread}-{number}", model="m", top_k=number + 1)["m"]
            if answer.ids != (f"{thread}-{number}",) or answer.distances.tolist() != [number + 1]:
                wrong.append((thread, number, answer))

    threads = [threading.Thread(target=search, args=[n], name=f"searcher-{n}") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert server.calls("FindSimilar") == 400
