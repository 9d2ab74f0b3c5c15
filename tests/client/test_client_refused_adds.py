"""Where a call of many is refused as a whole: its own error, unless something may be on disk."""

import threading

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb import NewItem
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.client.scripted_server import Fault, ScriptedServer

Status = grpc.StatusCode
ALONE = 1  # bytes per call: each vector is sent in a separate call
WRONG_LENGTH = Fault(Status.INVALID_ARGUMENT, "dimension_mismatch", "3 is not 4")
GONE = Fault(Status.UNAVAILABLE, message="gone")


def add_three(db):
    """Add a, b and c, each in a separate call, all of which are under way at once."""
    return db.add_vectors(["a", "b", "c"], np.zeros((3, 3)), model="m", bytes_per_call=ALONE)


def answering(**steps):
    """A server that waits until a, b and c are there, then answers each with its step."""
    together = threading.Barrier(3)

    def step(request):
        together.wait(10)
        return steps[request.ids[0]]

    return step


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (Status.INVALID_ARGUMENT, "dimension_mismatch", euclidesdb.DimensionMismatch),
        (Status.INVALID_ARGUMENT, "invalid_request", euclidesdb.InvalidRequest),
        (Status.FAILED_PRECONDITION, "version_mismatch", euclidesdb.VersionMismatch),
        (Status.NOT_FOUND, "unknown_model", euclidesdb.UnknownModel),
        (Status.PERMISSION_DENIED, "not_allowed", euclidesdb.NotAllowed),
    ],
)
def test_a_call_that_is_refused_before_anything_is_written_raises_its_own_error(
    db, server, status, reason, kind
):
    fault = Fault(status, reason, "as refused")
    server.script("AddVectors", fault)
    with pytest.raises(kind, match="as refused") as raised:
        db.add_vectors(["a", "b"], np.zeros((2, 3)), model="m")
    assert type(raised.value) is kind
    server.script("AddItems", fault)
    with pytest.raises(kind, match="as refused"):
        db.add_many([NewItem("a", vectors={"m": [1]})])


def test_a_first_call_that_is_too_large_is_named():
    items = [NewItem(each, image=bytes(60_000), models=["m"]) for each in "abcd"]
    with (
        ScriptedServer(max_message_bytes=100_000) as server,
        euclidesdb.Client(server.target) as db,
        pytest.raises(euclidesdb.MessageTooLarge, match="100000"),
    ):
        db.add_many(items)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.UNAVAILABLE, None),
        (Status.UNAVAILABLE, "model_unavailable"),
        (Status.UNAVAILABLE, "shutting_down"),
        (Status.RESOURCE_EXHAUSTED, "overloaded"),
        (Status.DEADLINE_EXCEEDED, "deadline_exceeded"),
        (Status.INTERNAL, "storage_error"),
        (Status.UNKNOWN, None),
    ],
)
def test_after_any_other_failure_what_was_sent_may_be_on_disk(db, server, status, reason):
    server.script("AddVectors", Fault(status, reason))
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_vectors(["a", "b"], np.zeros((2, 3)), model="m")
    assert raised.value.unknown == ((0, "a"), (1, "b"))


def test_calls_under_way_that_are_all_refused_raise_the_error_of_the_first(db, server):
    other = Fault(Status.NOT_FOUND, "unknown_model", "no model 'm'")
    server.script("AddVectors", answering(a=WRONG_LENGTH, b=other, c=other))
    with pytest.raises(euclidesdb.DimensionMismatch, match="3 is not 4"):
        add_three(db)


def test_a_refused_call_next_to_a_written_one_reports_where_to_continue(db, server):
    server.script(
        "AddVectors", answering(a=WRONG_LENGTH, b=pb.AddVectorsReply(), c=pb.AddVectorsReply())
    )
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        add_three(db)
    assert type(raised.value.__cause__) is euclidesdb.DimensionMismatch
    assert (raised.value.unknown, raised.value.resume_at) == ((), 0)


def test_a_refused_call_next_to_a_lost_one_reports_what_is_unknown(db, server):
    server.script("AddVectors", answering(a=WRONG_LENGTH, b=WRONG_LENGTH, c=GONE))
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        add_three(db)
    assert type(raised.value.__cause__) is euclidesdb.DimensionMismatch
    assert (raised.value.unknown, raised.value.resume_at) == (((2, "c"),), 0)


def test_items_of_a_call_that_is_refused_later_are_not_unknown(db, server):
    server.script(
        "AddVectors", answering(a=pb.AddVectorsReply(), b=WRONG_LENGTH, c=pb.AddVectorsReply())
    )
    with pytest.raises(euclidesdb.AddsInterrupted, match="first 1 items") as raised:
        add_three(db)
    assert raised.value.reason == "dimension_mismatch"
    assert (raised.value.unknown, raised.value.resume_at) == ((), 1)


def test_refused_items_are_reported_even_if_a_later_call_is_refused(db, server):
    refusing = pb.AddVectorsReply(refused=[pb.Refusal(position=0, code=13, reason="storage_error")])
    server.script("AddVectors", answering(a=refusing, b=WRONG_LENGTH, c=WRONG_LENGTH))
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        add_three(db)
    assert [each.id for each in raised.value.refused] == ["a"]
    assert raised.value.resume_at == 1


def doubting(*positions):
    """A reply in which the writes of these items are in doubt."""
    return [
        pb.Refusal(position=each, code=13, reason="write_in_doubt", message="no sync")
        for each in positions
    ]


FULL = pb.Refusal(position=2, code=8, reason="disk_full")


def test_an_item_in_doubt_is_unknown_and_never_refused(db, server):
    server.script("AddVectors", pb.AddVectorsReply(refused=[FULL, *doubting(1)]))
    with pytest.raises(euclidesdb.AddsInterrupted, match="first 1 items") as raised:
        db.add_vectors(["a", "b", "c"], np.zeros((3, 3)), model="m")
    assert type(raised.value.__cause__) is euclidesdb.WriteInDoubt
    assert raised.value.reason == "write_in_doubt"
    assert (raised.value.unknown, raised.value.resume_at) == (((1, "b"),), 1)
    assert [(each.id, type(each.error)) for each in raised.value.refused] == [
        ("c", euclidesdb.DiskFull)
    ]


def test_many_items_in_doubt_are_unknown_and_never_refused(db, server):
    reply = pb.AddItemsReply(items=[pb.AddItemReply()] * 2, refused=doubting(0, 1))
    server.script("AddItems", reply)
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_many([NewItem(each, vectors={"m": [1]}) for each in "ab"])
    assert (raised.value.unknown, raised.value.resume_at) == (((0, "a"), (1, "b")), 0)
    assert raised.value.refused == ()


def test_after_an_item_in_doubt_no_further_call_begins(db, server):
    server.script("AddVectors", pb.AddVectorsReply(refused=doubting(0)))
    ids = [f"{number}" for number in range(50)]
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_vectors(ids, np.zeros((50, 3)), model="m", bytes_per_call=ALONE)
    assert server.calls("AddVectors") <= 3
    assert raised.value.resume_at == 0
    assert {position for position, _ in raised.value.unknown} <= {0, 1, 2}


def test_adding_goes_on_from_where_it_was_interrupted(db, server):
    """As the documentation advises: the items from `resume_at` on once more."""
    server.script("AddVectors", pb.AddVectorsReply(refused=doubting(1)), pb.AddVectorsReply())
    ids = ["a", "b", "c"]
    with pytest.raises(euclidesdb.AddsInterrupted) as raised:
        db.add_vectors(ids, np.zeros((3, 3)), model="m")
    rest = ids[raised.value.resume_at :]
    assert db.add_vectors(rest, np.zeros((len(rest), 3)), model="m") == ()
    assert [list(request.ids) for request in server.requests["AddVectors"]] == [ids, ["b", "c"]]


def test_what_a_generator_raises_before_anything_is_sent_is_raised_as_it_is(db, server):
    def items():
        raise OSError("the archive is damaged")
        yield

    with pytest.raises(OSError, match="archive is damaged"):
        db.add_many(items())
    with pytest.raises(TypeError, match="item 0 must be a NewItem, not str"):
        db.add_many(["a"])
    assert not any(server.requests.values())
