"""Every error of the database reaches its caller with the promised status and reason."""

from __future__ import annotations

import grpc
import pytest

from euclidesdb_protos.legacy import euclidesproto_pb2 as legacy
from euclidesdb_protos.v1 import database_pb2 as v1
from euclidesdb_server import errors
from euclidesdb_server.errors import DatabaseError, StartupError
from tests.rpc.faulty_database import FaultyServer
from tests.support.calls import Stubs, refusal
from tests.support.cases import each_as_subtest

STATUS = grpc.StatusCode

# Clients depend on both: they never change.
PROMISED = {
    errors.DatabaseError: (STATUS.INTERNAL, "database_error"),
    errors.InvalidRequest: (STATUS.INVALID_ARGUMENT, "invalid_request"),
    errors.UndecodableInput: (STATUS.INVALID_ARGUMENT, "undecodable_input"),
    errors.DimensionMismatch: (STATUS.INVALID_ARGUMENT, "dimension_mismatch"),
    errors.ModelRejected: (STATUS.FAILED_PRECONDITION, "model_rejected"),
    errors.ReplyTooLarge: (STATUS.INVALID_ARGUMENT, "reply_too_large"),
    errors.VersionMismatch: (STATUS.FAILED_PRECONDITION, "version_mismatch"),
    errors.NotFound: (STATUS.NOT_FOUND, "not_found"),
    errors.UnknownModel: (STATUS.NOT_FOUND, "unknown_model"),
    errors.UnknownItem: (STATUS.NOT_FOUND, "unknown_item"),
    errors.UnknownJob: (STATUS.NOT_FOUND, "unknown_job"),
    errors.Overloaded: (STATUS.RESOURCE_EXHAUSTED, "overloaded"),
    errors.BackupInProgress: (STATUS.RESOURCE_EXHAUSTED, "backup_in_progress"),
    errors.DeadlineExceeded: (STATUS.DEADLINE_EXCEEDED, "deadline_exceeded"),
    errors.Unavailable: (STATUS.UNAVAILABLE, "unavailable"),
    errors.ModelUnavailable: (STATUS.UNAVAILABLE, "model_unavailable"),
    errors.ShuttingDown: (STATUS.UNAVAILABLE, "shutting_down"),
    errors.Unauthenticated: (STATUS.UNAUTHENTICATED, "unauthenticated"),
    errors.NotAllowed: (STATUS.PERMISSION_DENIED, "not_allowed"),
    errors.RoleRequired: (STATUS.PERMISSION_DENIED, "role_required"),
    errors.ModelFailed: (STATUS.INTERNAL, "model_failed"),
    errors.StorageError: (STATUS.INTERNAL, "storage_error"),
    errors.DiskFull: (STATUS.RESOURCE_EXHAUSTED, "disk_full"),
    errors.WriteInDoubt: (STATUS.INTERNAL, "write_in_doubt"),
    errors.CorruptRecord: (STATUS.DATA_LOSS, "corrupt_record"),
}

CALLS = {
    "AddItem": v1.AddItemRequest(id="a"),
    "GetItem": v1.GetItemRequest(id="a"),
    "GetItems": v1.GetItemsRequest(ids=["a"]),
    "UpdateItem": v1.UpdateItemRequest(id="a"),
    "RemoveItems": v1.RemoveItemsRequest(ids=["a"]),
    "CountItems": v1.CountItemsRequest(),
    "ListItems": v1.ListItemsRequest(),
    "SampleItems": v1.SampleItemsRequest(count=1),
    "SummarizeItems": v1.SummarizeItemsRequest(),
    "RemoveItem": v1.RemoveItemRequest(id="a"),
    "StartEmbedding": v1.StartEmbeddingRequest(model="m"),
    "GetJob": v1.GetJobRequest(id="1"),
    "ListJobs": v1.ListJobsRequest(),
    "CancelJob": v1.CancelJobRequest(id="1"),
    "FindSimilar": v1.FindSimilarRequest(query=v1.Query(id="a"), models=["m"], top_k=1),
    "ListModels": v1.ListModelsRequest(),
    "LoadModel": v1.LoadModelRequest(folder="m"),
    "UnloadModel": v1.UnloadModelRequest(name="m"),
    "DropModelVersion": v1.DropModelVersionRequest(name="m@f"),
    "AddImage": legacy.AddImageRequest(),
    "FindSimilarImage": legacy.FindSimilarImageRequest(),
    "FindSimilarImageById": legacy.FindSimilarImageByIdRequest(),
    "RemoveImage": legacy.RemoveImageRequest(),
    "Shutdown": legacy.ShutdownRequest(shutdown_type=1),
}


@pytest.fixture(scope="module")
def server():
    with FaultyServer() as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server):
    with Stubs(server.address) as stubs:
        yield stubs


def family(kind):
    yield kind
    for child in kind.__subclasses__():
        if child is not StartupError:
            yield from family(child)


def method(stubs, name):
    return getattr(stubs.v1, name, None) or getattr(stubs.legacy, name)


def test_the_table_covers_every_error_that_a_call_may_raise():
    assert set(PROMISED) == set(family(DatabaseError))


@each_as_subtest("kind", PROMISED, ids=lambda kind: kind.__name__)
def test_an_error_has_its_promised_status_and_reason_and_its_own_message(server, stubs, kind):
    server.database.fault = kind("the 'väl\nue' that is wrong")
    refused = refusal(stubs.v1.GetItem, CALLS["GetItem"])
    assert (refused.status, refused.reason) == PROMISED[kind]
    assert refused.message == "the 'väl\nue' that is wrong"


@each_as_subtest("name", CALLS)
def test_every_call_of_both_services_answers_errors_alike(server, stubs, name):
    server.database.fault = errors.DiskFull("no room")
    refused = refusal(method(stubs, name), CALLS[name])
    assert (refused.status, refused.reason) == (STATUS.RESOURCE_EXHAUSTED, "disk_full")


@pytest.mark.parametrize("name", CALLS)
def test_an_unforeseen_error_is_internal_and_its_details_are_only_logged(
    server, stubs, caplog, name, subtests
):
    for fault in (KeyError("a secret"), RuntimeError("a secret"), AssertionError("a secret")):
        with subtests.test(repr(fault)):
            caplog.clear()
            server.database.fault = fault
            refused = refusal(method(stubs, name), CALLS[name])
            assert refused.status is STATUS.INTERNAL
            assert refused.message == "internal error"
            assert "a secret" in caplog.text
            assert "Traceback" in caplog.text


@each_as_subtest("letter", ["x", "ü", "語", "\U0001f600", "\n", "%"])
def test_a_long_message_is_cut_to_what_a_header_holds(server, stubs, letter):
    server.database.fault = errors.UnknownModel(letter * 5000)
    refused = refusal(stubs.v1.GetItem, CALLS["GetItem"])
    assert (refused.status, refused.reason) == (STATUS.NOT_FOUND, "unknown_model")
    assert refused.message.startswith(letter * 100)
