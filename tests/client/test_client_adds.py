"""Many items and many vectors: cut into calls, a few under way at once, nothing lost."""

import itertools
import threading
from typing import Any

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb import NewItem
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, ScriptedServer, Silence

UNAVAILABLE = Fault(grpc.StatusCode.UNAVAILABLE, message="gone")
ALONE = 1  # bytes per call: each item is sent in a separate call


def item_ids(requests):
    """The ids of each request, whatever the order in which requests met at the server."""
    return sorted([item.id for item in request.items] for request in requests)


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def by_first_id(requests):
    return sorted(requests, key=lambda request: request.ids[0])


def all_well(request):
    return pb.AddItemsReply(items=[pb.AddItemReply() for _ in request.items])


def failing(fault, *ids):
    """A server that fails the calls that hold one of `ids`."""

    def step(request):
        return fault if {item.id for item in request.items} & set(ids) else all_well(request)

    return step


def refusing(*ids):
    def step(request):
        reply = all_well(request)
        for position, item in enumerate(request.items):
            if item.id in ids:
                reply.refused.add(
                    position=position, code=3, reason="undecodable_input", message=f"bad {item.id}"
                )
        return reply

    return step


def new_item(item_id, **given):
    """An item that can be sent."""
    return NewItem(item_id, **({"vectors": {"m": [1]}} | given))


def numbered(count):
    return [f"{number:05}" for number in range(count)]


def test_an_item_among_many_is_sent_as_add_sends_it(db, server):
    given: dict[str, Any] = {
        "image": b"bytes of an image",
        "models": ["digits"],
        "vectors": {"other": euclidesdb.ModelVector([1, 2.5], "f9")},
        "attributes": {"brand": "ü"},
        "metadata": b"\x00",
    }
    db.add("a", **given)
    db.add("b", vectors={"m": [1]})
    assert db.add_many([NewItem("a", **given), new_item("b")]) == ()
    (request,) = server.requests["AddItems"]
    assert list(request.items) == server.requests["AddItem"]


def test_many_items_are_cut_into_calls_by_number(db, server):
    assert db.add_many(map(new_item, numbered(300))) == ()
    ids = item_ids(server.requests["AddItems"])
    assert [len(call) for call in ids] == [128, 128, 44]
    assert joined(ids) == numbered(300)


def test_many_items_are_cut_into_calls_by_bytes(db, server):
    items = [new_item(letter, image=bytes(400), models=["m"]) for letter in "abcde"]
    items[3] = new_item("d", image=bytes(5000), models=["m"])  # larger than a call: alone
    assert db.add_many(items, bytes_per_call=1000) == ()
    assert item_ids(server.requests["AddItems"]) == [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize("items", [[], iter(())], ids=["list", "iterator"])
def test_no_items_need_no_call(db, server, items):
    assert db.add_many(items) == ()
    assert db.add_vectors([], [], model="m") == ()
    assert db.add_vectors([], np.empty((0, 3)), model="m", metadata=[], attributes=[]) == ()
    assert not any(server.requests.values())


def test_three_calls_are_under_way_at_once_and_never_four(db, server):
    under_way, most = 0, 0
    lock, together = threading.Lock(), threading.Barrier(3)

    def step(request):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(10)  # broken unless three are here at once
        with lock:
            under_way -= 1
        return all_well(request)

    server.script("AddItems", step)
    assert db.add_many(map(new_item, numbered(9)), bytes_per_call=ALONE) == ()
    assert most == 3


def test_a_generator_is_read_no_further_than_the_calls_under_way(db, server):
    read = 0
    release, read_at_the_first_reply = threading.Event(), []

    def items():
        nonlocal read
        for item in map(new_item, numbered(20)):
            read += 1
            if read == 5:  # three are under way, one waits its turn, this one filled its call
                release.set()
            yield item

    def step(request):
        assert release.wait(10)
        read_at_the_first_reply.append(read)
        return all_well(request)

    server.script("AddItems", step)
    assert db.add_many(items(), bytes_per_call=ALONE) == ()
    assert read_at_the_first_reply[0] == 5
    assert server.calls("AddItems") == 20


def test_items_of_one_id_are_never_in_two_calls_under_way(db, server):
    second_came = threading.Event()
    overtaken = []

    def step(request):
        (item,) = request.items
        if item.metadata == b"first":
            # Time enough for a client that does not wait to send the second one.
            overtaken.append(second_came.wait(0.3))
        if item.metadata == b"second":
            second_came.set()
        return all_well(request)

    server.script("AddItems", step)
    items = [new_item("x", metadata=b"first"), new_item("y"), new_item("x", metadata=b"second")]
    assert db.add_many(items, bytes_per_call=ALONE) == ()
    assert overtaken == [False]
    assert second_came.is_set()


def test_vectors_of_one_id_are_never_in_two_calls_under_way(db, server):
    second_came = threading.Event()
    overtaken = []

    def step(request):
        if request.metadata[0] == b"first":
            overtaken.append(second_came.wait(0.3))
        else:
            second_came.set()
        return pb.AddVectorsReply()

    server.script("AddVectors", step)
    metadata = [b"first", b"second"]
    db.add_vectors(["x", "x"], [[1], [2]], model="m", metadata=metadata, bytes_per_call=ALONE)
    assert overtaken == [False]
    assert second_came.is_set()


def test_items_of_one_id_keep_their_order_within_a_call(db, server):
    db.add_many([new_item("x", metadata=b"1"), new_item("y"), new_item("x", metadata=b"2")])
    (request,) = server.requests["AddItems"]
    assert [(item.id, item.metadata) for item in request.items] == [
        ("x", b"1"),
        ("y", b""),
        ("x", b"2"),
    ]


def test_what_the_server_refuses_comes_back_with_position_and_id(db, server):
    server.script("AddItems", refusing("00003", "00130", "00299"))
    refused = db.add_many(map(new_item, numbered(300)))
    assert [(each.position, each.id) for each in refused] == [
        (3, "00003"),
        (130, "00130"),
        (299, "00299"),
    ]
    assert [type(each.error) for each in refused] == [euclidesdb.UndecodableInput] * 3
    assert str(refused[1].error) == "bad 00130"


def test_an_item_that_cannot_be_sent_is_refused_alone(db, server, tmp_path):
    items = [
        new_item("a"),
        NewItem("b", image=tmp_path / "nowhere.png", models=["m"]),
        new_item("c"),
        NewItem("d", vectors={"m": [["1"]]}),
        NewItem("e", models="digits"),
        new_item("f"),
    ]
    server.script("AddItems", refusing("c", "f"))
    refused = db.add_many(items)
    assert [(each.position, each.id, type(each.error)) for each in refused] == [
        (1, "b", FileNotFoundError),
        (2, "c", euclidesdb.UndecodableInput),
        (3, "d", TypeError),
        (4, "e", TypeError),
        (5, "f", euclidesdb.UndecodableInput),
    ]
    assert item_ids(server.requests["AddItems"]) == [["a", "c", "f"]]


def test_an_item_too_large_for_the_server_is_refused_alone():
    items = [new_item("a"), new_item("b", image=bytes(200_000), models=["m"]), new_item("c")]
    with (
        ScriptedServer(max_message_bytes=100_000) as server,
        euclidesdb.Client(server.target) as db,
    ):
        (refused,) = db.add_many(items, bytes_per_call=50_000)
        assert item_ids(server.requests["AddItems"]) == [["a"], ["c"]]
    assert (refused.position, refused.id) == (1, "b")
    assert type(refused.error) is euclidesdb.MessageTooLarge


def test_a_call_that_fails_tells_what_is_on_disk_and_what_is_unknown(once, server):
    def step(request):
        ids = {item.id for item in request.items}
        if "00001" in ids:
            return refusing("00001")(request)
        return failing(UNAVAILABLE, "00300")(request)

    server.script("AddItems", step)
    with pytest.raises(euclidesdb.AddsInterrupted, match=r"gone.*first 256 items") as raised:
        once.add_many(map(new_item, numbered(1000)))
    stopped = raised.value
    assert type(stopped.__cause__) is euclidesdb.ConnectionFailed
    assert stopped.reason == "unavailable"
    assert [each.id for each in stopped.refused] == ["00001"]
    assert stopped.unknown == tuple((number, f"{number:05}") for number in range(256, 384))
    assert stopped.resume_at == 256
    assert server.calls("AddItems") <= 5  # those that were under way, none after


def test_the_calls_under_way_when_one_fails_are_accounted_for(once, server):
    together = threading.Barrier(3)

    def step(request):
        together.wait(10)  # all three are under way before any is answered
        return failing(UNAVAILABLE, "00000", "00002")(request)

    server.script("AddItems", step)
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        once.add_many(map(new_item, numbered(9)), bytes_per_call=ALONE)
    assert raised.value.unknown == ((0, "00000"), (2, "00002"))
    assert raised.value.resume_at == 0
    assert server.calls("AddItems") == 3


def test_continuing_after_an_interruption_adds_everything(once, server):
    added = set()
    lock = threading.Lock()
    calls = itertools.count()

    def step(request):
        with lock:
            if next(calls) == 2:
                return UNAVAILABLE
            added.update(item.id for item in request.items)
        return all_well(request)

    server.script("AddItems", step)
    ids = numbered(1000)
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        once.add_many(map(new_item, ids))
    assert once.add_many(map(new_item, ids[raised.value.resume_at :])) == ()
    assert added == set(ids)


def test_a_server_that_goes_away_is_not_taken_for_a_success():
    one_is_acknowledged = threading.Event()

    def items():
        for number, item in enumerate(map(new_item, numbered(700))):
            if number == 4 * 128 + 1:  # the fourth call is under way, so the first is answered
                one_is_acknowledged.set()
            yield item

    def kill(server):
        assert one_is_acknowledged.wait(10)
        server.close()

    silence = Silence()
    with ScriptedServer() as server, euclidesdb.Client(server.target, timeout=20) as db:
        server.script(
            "AddItems",
            lambda request: all_well(request) if request.items[0].id == "00000" else silence,
        )
        killer = threading.Thread(target=kill, args=[server], name="killer")
        killer.start()
        with pytest.raises(euclidesdb.AddsInterrupted) as raised:
            db.add_many(items())
        killer.join()
    assert isinstance(raised.value.__cause__, euclidesdb.Unavailable)
    assert raised.value.resume_at == 128
    assert [position for position, _ in raised.value.unknown] == list(range(128, 512))


def test_what_a_generator_gave_before_it_raised_is_added(db, server):
    def items():
        yield from map(new_item, numbered(200))
        raise OSError("the archive is damaged")

    server.script("AddItems", refusing("00150"))
    with pytest.raises(euclidesdb.AddsInterrupted, match="archive is damaged") as raised:
        db.add_many(items())
    assert type(raised.value.__cause__) is OSError
    assert joined(item_ids(server.requests["AddItems"])) == numbered(200)
    assert [each.position for each in raised.value.refused] == [150]
    assert (raised.value.unknown, raised.value.resume_at) == ((), 200)


def test_an_invalid_item_is_named(db):
    with pytest.raises(euclidesdb.AddsInterrupted, match="item 1 must be a NewItem, not str"):
        db.add_many([new_item("a"), "b"])


def test_ctrl_c_in_a_generator_ends_the_calls_under_way(db, server):
    silence = Silence()
    server.script("AddItems", silence)

    def items():
        yield new_item("a")
        yield new_item("b")
        assert silence.reached.wait(10)
        raise KeyboardInterrupt

    # Kept, as an interactive session does: a call is also cancelled when its last trace goes.
    with pytest.raises(KeyboardInterrupt) as kept:
        db.add_many(items(), bytes_per_call=ALONE, timeout=1000)
    assert kept.tb is not None
    assert silence.left.wait(10)


@pytest.mark.parametrize(
    "reply",
    [
        pb.AddItemsReply(items=[pb.AddItemReply()]),
        pb.AddItemsReply(
            items=[pb.AddItemReply(), pb.AddItemReply()], refused=[pb.Refusal(position=2)]
        ),
        pb.AddItemsReply(
            items=[pb.AddItemReply(), pb.AddItemReply()], refused=[pb.Refusal(position=-1)]
        ),
    ],
    ids=["too few", "after the last", "negative"],
)
def test_a_reply_about_other_items_is_not_an_acknowledgement(db, server, reply):
    server.script("AddItems", reply)
    with pytest.raises(euclidesdb.AddsInterrupted, match="the reply") as raised:
        db.add_many([new_item("a"), new_item("b")])
    assert type(raised.value.__cause__) is euclidesdb.ServerError
    assert raised.value.unknown == ((0, "a"), (1, "b"))


def test_each_call_has_its_own_timeout(db, server):
    server.script("AddItems", failing(Silence(), "00002"))
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_many(map(new_item, numbered(3)), bytes_per_call=ALONE, timeout=1)
    assert type(raised.value.__cause__) is euclidesdb.DeadlineExceeded
    assert raised.value.unknown == ((2, "00002"),)


def test_a_call_of_many_has_ten_times_the_clients_timeout(db, server):
    db.add_many([new_item("a")])
    db.add_vectors(["a"], [[1]], model="m")
    db.find_similar_many(ids=["a"], model="m")
    db.load_model("m")
    db.unload_model("m")
    db.drop_model_version("m@f")
    changes = ("LoadModel", "UnloadModel", "DropModelVersion")
    for method in ("AddItems", "AddVectors", "FindSimilarBatch", *changes):
        assert 100 < server.seconds_left[method] <= 201  # gRPC rounds up to whole seconds


def test_closing_the_client_interrupts_the_adds_under_way(server):
    silence = Silence()
    server.script("AddItems", silence)

    def close_in_flight():
        assert silence.reached.wait(10)
        db.close()

    with euclidesdb.Client(server.target) as db:
        closer = threading.Thread(target=close_in_flight, name="closer")
        closer.start()
        with pytest.raises(euclidesdb.AddsInterrupted) as raised:
            db.add_many([new_item("a")])
        closer.join()
    assert type(raised.value.__cause__) is euclidesdb.Cancelled
    assert raised.value.unknown == ((0, "a"),)


def test_a_client_closed_between_two_calls_sends_no_more(db, server):
    def items():
        yield new_item("a")
        yield new_item("b")
        db.close()  # "a" is under way, "b" is not
        yield new_item("c")

    server.script("AddItems", Silence())
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_many(items(), bytes_per_call=ALONE)
    assert type(raised.value.__cause__) is euclidesdb.ClientClosed
    assert raised.value.unknown == ((0, "a"),)


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.add_many([new_item("a")]),
        lambda db: db.add_vectors(["a"], [[1]], model="m"),
        lambda db: db.find_similar_many(ids=["a"], model="m"),
    ],
    ids=["add_many", "add_vectors", "find_similar_many"],
)
def test_a_closed_client_refuses_before_anything_is_sent(db, call):
    db.close()
    with pytest.raises(euclidesdb.ClientClosed):
        call(db)


def test_vectors_are_sent_as_columns(db, server):
    vectors = np.arange(6, dtype=np.float64).reshape(3, 2)
    db.add_vectors(
        ["a", "ü", "a"],
        vectors,
        model="m",
        fingerprint="f1",
        attributes=[{}, {"size": 40}, {}],
        metadata=[b"", b"\x00", b"x"],
    )
    assert server.requests["AddVectors"] == [
        pb.AddVectorsRequest(
            model="m",
            fingerprint="f1",
            ids=["a", "ü", "a"],
            vectors=pb.Array(
                data_type=pb.DATA_TYPE_FLOAT32,
                shape=[3, 2],
                data=vectors.astype("<f4").tobytes(),
            ),
            attributes_json=["{}", '{"size": 40}', "{}"],
            metadata=[b"", b"\x00", b"x"],
        )
    ]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f2", "f8", "u1", "i8"])
def test_vectors_of_any_real_type_arrive_whole(db, server, tmp_path, dtype):
    values = np.random.default_rng(3).integers(0, 200, (1000, 24)).astype(dtype)
    np.save(tmp_path / "vectors.npy", values)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    ids = numbered(1000)
    assert db.add_vectors(iter(ids), mapped, model="m", bytes_per_call=10_000) == ()
    requests = by_first_id(server.requests["AddVectors"])
    assert len(requests) > 9
    assert all(request.ByteSize() < 11_000 for request in requests)
    assert joined(request.ids for request in requests) == ids
    arrived = np.concatenate(
        [
            np.frombuffer(request.vectors.data, "<f4").reshape(tuple(request.vectors.shape))
            for request in requests
        ]
    )
    np.testing.assert_array_equal(arrived, values.astype("<f4"))


def test_vectors_are_cut_into_calls_by_number(db, server):
    db.add_vectors(numbered(10_000), np.zeros((10_000, 2)), model="m")
    requests = by_first_id(server.requests["AddVectors"])
    assert [len(request.ids) for request in requests] == [4096, 4096, 1808]
    assert [list(request.vectors.shape) for request in requests] == [
        [4096, 2],
        [4096, 2],
        [1808, 2],
    ]


def test_large_metadata_makes_smaller_calls(db, server):
    metadata = [b"", bytes(600), bytes(600), bytes(3000), b""]
    db.add_vectors([*"abcde"], np.ones((5, 2)), model="m", metadata=metadata, bytes_per_call=1000)
    requests = by_first_id(server.requests["AddVectors"])
    assert [list(request.ids) for request in requests] == [["a", "b"], ["c"], ["d"], ["e"]]


def test_refused_vectors_come_back_with_position_and_id(db, server):
    def step(request):
        refused = [
            pb.Refusal(position=position, code=3, reason="dimension_mismatch")
            for position, given in enumerate(request.ids)
            if given in {"00001", "05000"}
        ]
        return pb.AddVectorsReply(refused=refused)

    server.script("AddVectors", step)
    refused = db.add_vectors(numbered(6000), np.zeros((6000, 2)), model="m")
    assert [(each.position, each.id) for each in refused] == [(1, "00001"), (5000, "05000")]
    assert {type(each.error) for each in refused} == {euclidesdb.DimensionMismatch}


def test_vectors_interrupted_tell_what_is_unknown(db, server):
    server.script(
        "AddVectors",
        lambda request: UNAVAILABLE if request.ids[0] == "04096" else pb.AddVectorsReply(),
    )
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_vectors(numbered(9000), np.zeros((9000, 2)), model="m")
    assert raised.value.resume_at == 4096
    assert raised.value.unknown == tuple((n, f"{n:05}") for n in range(4096, 8192))


def test_a_refused_item_names_the_file_of_its_image_and_its_reason(db, server, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no image")
    refusals = [
        pb.Refusal(position=0, code=3, reason="undecodable_input", message="not an image"),
        pb.Refusal(position=1, code=13, reason="model_failed", message="the model raised"),
        pb.Refusal(position=2, code=8, reason="overloaded", message="try again"),
        pb.Refusal(position=3, code=3, reason="undecodable_input", message="not an image"),
    ]
    server.script("AddItems", pb.AddItemsReply(items=[pb.AddItemReply()] * 4, refused=refusals))
    missing = tmp_path / "missing.png"
    with photo.open("rb") as opened:
        images = (missing, photo, opened, str(photo), photo.read_bytes())
        refused = db.add_many(
            NewItem(f"item {number}", image=image, models=["m"])
            for number, image in enumerate(images)
        )
    assert [each.reason for each in refused] == [
        *("not_sent", "undecodable_input", "model_failed", "overloaded", "undecodable_input")
    ]
    assert [each.error.reason for each in refused[1:]] == [each.reason for each in refused[1:]]
    assert [str(each.error) for each in refused[1:]] == [
        f"not an image (image {str(photo)!r})",
        f"the model raised (image {str(photo)!r})",
        "try again",
        "not an image",
    ]
    assert str(missing) in str(refused[0].error)


def test_a_single_item_or_query_names_the_file_of_its_image_too(db, server, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no image")
    for method in ("AddItem", "FindSimilar"):
        server.script(
            method, Fault(grpc.StatusCode.INVALID_ARGUMENT, "undecodable_input", "not an image")
        )
    calls = (
        lambda: db.add("a", image=photo, models=["m"]),
        lambda: db.find_similar(image=photo, model="m"),
    )
    for call in calls:
        with pytest.raises(euclidesdb.UndecodableInput) as raised:
            call()
        assert str(raised.value) == f"not an image (image {str(photo)!r})"
        assert raised.value.reason == "undecodable_input"
