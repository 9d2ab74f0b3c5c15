"""What the server and the transport report arrives as one tree of errors."""

import math
import socket
import sys
import threading
import time
from datetime import timedelta
from fractions import Fraction

import grpc
import numpy as np
import pytest

import euclidesdb
from euclidesdb import _translation
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server import errors as server_errors
from tests.client.scripted_server import Fault, ScriptedServer, Silence
from tests.support.cases import each_as_subtest

Status = grpc.StatusCode
VECTORS = {"m": [1]}

# What a server answers: the reason, its status, and what the client makes of it.
ANSWERS = [
    ("invalid_request", Status.INVALID_ARGUMENT, euclidesdb.InvalidRequest),
    ("undecodable_input", Status.INVALID_ARGUMENT, euclidesdb.UndecodableInput),
    ("dimension_mismatch", Status.INVALID_ARGUMENT, euclidesdb.DimensionMismatch),
    ("model_rejected", Status.FAILED_PRECONDITION, euclidesdb.ModelRejected),
    ("reply_too_large", Status.INVALID_ARGUMENT, euclidesdb.ReplyTooLarge),
    ("version_mismatch", Status.FAILED_PRECONDITION, euclidesdb.VersionMismatch),
    ("not_found", Status.NOT_FOUND, euclidesdb.NotFound),
    ("unknown_model", Status.NOT_FOUND, euclidesdb.UnknownModel),
    ("unknown_item", Status.NOT_FOUND, euclidesdb.UnknownItem),
    ("unknown_job", Status.NOT_FOUND, euclidesdb.UnknownJob),
    ("overloaded", Status.RESOURCE_EXHAUSTED, euclidesdb.Overloaded),
    ("backup_in_progress", Status.RESOURCE_EXHAUSTED, euclidesdb.BackupInProgress),
    ("disk_full", Status.RESOURCE_EXHAUSTED, euclidesdb.DiskFull),
    ("unavailable", Status.UNAVAILABLE, euclidesdb.Unavailable),
    ("model_unavailable", Status.UNAVAILABLE, euclidesdb.ModelUnavailable),
    ("shutting_down", Status.UNAVAILABLE, euclidesdb.ShuttingDown),
    ("unauthenticated", Status.UNAUTHENTICATED, euclidesdb.Unauthenticated),
    ("role_required", Status.PERMISSION_DENIED, euclidesdb.RoleRequired),
    ("not_allowed", Status.PERMISSION_DENIED, euclidesdb.NotAllowed),
    ("model_failed", Status.INTERNAL, euclidesdb.ModelFailed),
    ("deadline_exceeded", Status.DEADLINE_EXCEEDED, euclidesdb.DeadlineExceeded),
    ("corrupt_record", Status.DATA_LOSS, euclidesdb.CorruptRecord),
    ("storage_error", Status.INTERNAL, euclidesdb.ServerError),
    ("write_in_doubt", Status.INTERNAL, euclidesdb.WriteInDoubt),
    ("database_error", Status.INTERNAL, euclidesdb.ServerError),
]


def served_errors(kind=server_errors.DatabaseError):
    """The server's errors that a call can end with; a StartupError comes before any call."""
    if issubclass(kind, server_errors.StartupError):
        return
    yield kind
    for child in kind.__subclasses__():
        yield from served_errors(child)


@each_as_subtest("kind", list(served_errors()), ids=lambda kind: kind.__name__)
def test_every_reason_of_the_server_is_known_to_the_client(kind):
    assert kind.reason in _translation.BY_REASON
    assert kind.reason in {reason for reason, _, _ in ANSWERS}


@each_as_subtest(("reason", "status", "kind"), ANSWERS)
def test_each_reason_raises_its_own_error(db, server, reason, status, kind):
    server.script("AddItem", Fault(status, reason, "the item is odd"))
    with pytest.raises(euclidesdb.EuclidesDBError, match="the item is odd") as caught:
        db.add("a", vectors=VECTORS)
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


@each_as_subtest(
    ("status", "kind"),
    [
        (Status.INVALID_ARGUMENT, euclidesdb.InvalidRequest),
        (Status.FAILED_PRECONDITION, euclidesdb.InvalidRequest),
        (Status.OUT_OF_RANGE, euclidesdb.InvalidRequest),
        (Status.NOT_FOUND, euclidesdb.NotFound),
        (Status.RESOURCE_EXHAUSTED, euclidesdb.ResourceExhausted),
        (Status.UNAVAILABLE, euclidesdb.ConnectionFailed),
        (Status.PERMISSION_DENIED, euclidesdb.NotAllowed),
        (Status.UNAUTHENTICATED, euclidesdb.Unauthenticated),
        (Status.DEADLINE_EXCEEDED, euclidesdb.DeadlineExceeded),
        (Status.DATA_LOSS, euclidesdb.DataLoss),
        (Status.CANCELLED, euclidesdb.Unavailable),
        (Status.INTERNAL, euclidesdb.ServerError),
        (Status.UNKNOWN, euclidesdb.ServerError),
        (Status.UNIMPLEMENTED, euclidesdb.ServerError),
        (Status.ABORTED, euclidesdb.ServerError),
        (Status.ALREADY_EXISTS, euclidesdb.ServerError),
    ],
)
def test_without_a_reason_the_status_decides(db, server, status, kind):
    server.script("AddItem", Fault(status))
    with pytest.raises(euclidesdb.EuclidesDBError) as caught:
        db.add("a", vectors=VECTORS)
    assert type(caught.value) is kind
    assert caught.value.reason == status.name.lower()


def test_a_reason_of_a_newer_server_falls_back_to_the_status_and_is_kept(db, server):
    server.script("AddItem", Fault(Status.INVALID_ARGUMENT, "phase_of_the_moon"))
    with pytest.raises(euclidesdb.InvalidRequest) as caught:
        db.add("a", vectors=VECTORS)
    assert caught.value.reason == "phase_of_the_moon"


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.add("a", vectors=VECTORS),
        lambda db: db.get("a"),
        lambda db: db.remove("a"),
        lambda db: db.get_many(["a"]),
        lambda db: db.exists("a"),
        lambda db: db.update("a", merge={}),
        lambda db: db.remove_many(["a"]),
        lambda db: db.find_similar(id="a", model="m"),
        lambda db: db.find_similar_many(ids=["a"], model="m"),
        lambda db: db.models(),
        lambda db: db.load_model("m"),
        lambda db: db.unload_model("m"),
        lambda db: db.drop_model_version("m@f"),
    ],
    ids=[
        *("add", "get", "remove", "get_many", "exists", "update", "remove_many"),
        *("find_similar", "find_similar_many", "models"),
        *("load", "unload", "drop"),
    ],
)
def test_no_call_leaks_an_error_of_grpc(db, server, call):
    reads = ("GetItem", "GetItems", "FindSimilar", "FindSimilarBatch", "ListModels")
    items = ("AddItem", "UpdateItem", "RemoveItem", "RemoveItems")
    changes = (*items, "LoadModel", "UnloadModel", "DropModelVersion")
    for method in (*reads, *changes):
        server.script(method, Fault(Status.DATA_LOSS, "corrupt_record"))
    with pytest.raises(euclidesdb.CorruptRecord):
        call(db)


@each_as_subtest(
    ("reason", "status", "kind"), [answer for answer in ANSWERS if answer[0] != "write_in_doubt"]
)
def test_an_item_refused_among_many_gets_the_error_that_it_would_get_alone(
    db, server, reason, status, kind
):
    refusal = pb.Refusal(code=status.value[0], reason=reason, message="the item is odd")
    server.script("AddItems", pb.AddItemsReply(items=[pb.AddItemReply()], refused=[refusal]))
    (refused,) = db.add_many([euclidesdb.NewItem("a", vectors=VECTORS)])
    assert type(refused.error) is kind
    assert (refused.error.reason, str(refused.error)) == (reason, "the item is odd")


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (Status.NOT_FOUND.value[0], euclidesdb.NotFound, "phase_of_the_moon"),
        (99, euclidesdb.ServerError, "phase_of_the_moon"),
    ],
)
def test_a_refusal_of_a_newer_server_falls_back_to_its_code(db, server, code, kind, reason):
    refusal = pb.Refusal(code=code, reason=reason)
    server.script("AddVectors", pb.AddVectorsReply(refused=[refusal]))
    (refused,) = db.add_vectors(["a"], [[1]], model="m")
    assert (type(refused.error), refused.error.reason) == (kind, reason)


def test_a_message_over_the_servers_limit_is_message_too_large():
    with (
        ScriptedServer(max_message_bytes=100_000) as server,
        euclidesdb.Client(server.target) as db,
        pytest.raises(euclidesdb.MessageTooLarge, match="100000"),
    ):
        db.add("a", image=bytes(200_000), models=["m"])


def test_a_silent_server_is_left_when_the_timeout_passes(db, server):
    server.script("AddItem", Silence())
    started = time.monotonic()
    with pytest.raises(euclidesdb.DeadlineExceeded):
        db.add("a", vectors=VECTORS, timeout=0.2)
    assert 0.2 <= time.monotonic() - started < 10


def test_the_clients_timeout_applies_to_calls_without_one(server):
    server.script("GetItem", Silence())
    started = time.monotonic()
    with (
        euclidesdb.Client(server.target, timeout=0.2) as db,
        pytest.raises(euclidesdb.DeadlineExceeded),
    ):
        db.get("a")
    assert 0.2 <= time.monotonic() - started < 10


@each_as_subtest(
    ("timeout", "expected"),
    [
        (7, 7),
        (np.float32(7), 7),
        (np.int64(7), 7),
        (Fraction(7), 7),
        (9e9, math.inf),
        (sys.maxsize, math.inf),
        (10**400, math.inf),
        (math.inf, math.inf),
        (1e8, 1e8),
    ],
)
def test_any_positive_number_is_a_timeout(server, timeout, expected):
    with euclidesdb.Client(server.target, timeout=timeout) as client:
        client.models()
        client.find_similar_many(ids=["a"], model="m")  # ten times that
        client.models(timeout=timeout)
    left = server.seconds_left["ListModels"]
    # gRPC transmits at most 1,125 days
    assert 0.9 * expected < left < 1.1 * expected or min(left, expected) > 9e7


@each_as_subtest(
    ("timeout", "kind", "says"),
    [
        ("5", TypeError, "must be a number of seconds or None, not str: '5'"),
        (True, TypeError, "not bool: True"),
        (np.bool_(1), TypeError, "not bool"),
        (timedelta(seconds=5), TypeError, r"not timedelta: datetime.timedelta\(seconds=5\)"),
        (0, ValueError, "must be a positive number of seconds or None, not 0"),
        (-1.5, ValueError, r"not -1\.5"),
        (math.nan, ValueError, "not nan"),
    ],
)
def test_what_is_not_a_positive_number_is_refused_as_a_timeout(db, server, timeout, kind, says):
    with pytest.raises(kind, match=says):
        euclidesdb.Client(server.target, timeout=timeout)
    with pytest.raises(kind, match=says):
        db.models(timeout=timeout)
    with pytest.raises(kind, match=says):
        db.find_similar_many(ids=["a"], model="m", timeout=timeout)
    assert not any(server.requests.values())


def test_all_the_attempts_of_one_search_share_its_timeout(db, server):
    # The pause before the second attempt (0.2 s, give or take a fifth) counts. Below 10 s gRPC
    # tells the server what is left to within 0.01 s, above that it rounds up.
    server.script("FindSimilar", Fault(Status.UNAVAILABLE), pb.FindSimilarReply())
    db.find_similar(id="a", timeout=5)
    assert server.calls("FindSimilar") == 2
    assert server.seconds_left["FindSimilar"] < 4.9


@pytest.mark.parametrize(
    "call",
    [lambda db: db.add("a", vectors=VECTORS), lambda db: db.get("a")],
    ids=["never retried", "retried"],
)
def test_a_server_that_is_not_there_is_unavailable_well_within_the_timeout(call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        with euclidesdb.Client(f"127.0.0.1:{taken.getsockname()[1]}", timeout=20) as db:
            with pytest.raises(euclidesdb.Unavailable, match="refused") as caught:
                call(db)
            assert caught.value.reason == "unavailable"


def test_closing_the_client_ends_a_call_in_progress(server):
    silence = Silence()
    server.script("AddItem", silence)
    raised = []

    def add(db):
        try:
            db.add("a", vectors=VECTORS)
        except euclidesdb.EuclidesDBError as error:
            raised.append(error)

    with euclidesdb.Client(server.target) as db:
        caller = threading.Thread(target=add, args=[db], name="caller")
        caller.start()
        assert silence.reached.wait(10)
        db.close()
        caller.join(10)
    assert [type(error) for error in raised] == [euclidesdb.Cancelled]


def test_a_closed_client_refuses_calls_and_may_be_closed_again(server):
    with euclidesdb.Client(server.target) as db:
        db.models()
    db.close()
    with pytest.raises(euclidesdb.ClientClosed, match="closed"):
        db.models()
    assert server.calls("ListModels") == 1
