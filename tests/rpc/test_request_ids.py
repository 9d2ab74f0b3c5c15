"""Request ids, by both transports: taken from metadata, sent back, and in the log of errors."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.rpc.request_ids import given_id
from tests.rpc.test_transports import TIMEOUT, Served, transport

__all__ = ["transport"]


@pytest.fixture(scope="module")
def shared(transport):
    with Served(transport) as served:
        yield served


def ids_of(metadata):
    return [value for key, value in metadata or () if key == "x-request-id"]


def call(served, name, request_id=None):
    """The ids that come back with a call's end, and its status."""
    metadata = () if request_id is None else (("x-request-id", request_id),)
    try:
        _, done = served.method(name).with_call(BytesValue(), timeout=TIMEOUT, metadata=metadata)
    except grpc.RpcError as error:
        return ids_of(error.trailing_metadata()), error.code()
    return ids_of(done.trailing_metadata()), done.code()


@pytest.mark.parametrize("name", ["Quick", "Echo"])
def test_the_id_of_a_caller_comes_back(shared, name):
    assert call(shared, name, "trace/7:a=b") == (["trace/7:a=b"], grpc.StatusCode.OK)
    assert call(shared, name) == ([], grpc.StatusCode.OK)


@pytest.mark.parametrize("name", ["Fail", "FailQuickly"])
def test_a_failure_has_the_id_of_its_caller_or_one_of_its_own(shared, name):
    shared.service.fault = InvalidRequest("no")
    assert call(shared, name, "mine") == (["mine"], grpc.StatusCode.INVALID_ARGUMENT)
    ids = {call(shared, name)[0][0] for _ in range(5)}
    assert len(ids) == 5
    assert all(given_id(each) == each for each in ids)


@pytest.mark.parametrize("fault", [DatabaseError("the disk"), ValueError("a bug")], ids=repr)
def test_the_log_of_a_failure_has_its_id(shared, caplog, fault):
    shared.service.fault = fault
    (sent,), status = call(shared, "Fail", "find-me")
    assert (sent, status) == ("find-me", grpc.StatusCode.INTERNAL)
    assert [getattr(each, "request_id", "") for each in caplog.records] == ["find-me"]


@pytest.mark.parametrize(
    "request_id",
    ["", "a b", "a\tb", "-x", "x" * 129, "é", "<script>", "a\x7f", "{}", '"'],
    ids=ascii,
)
def test_what_is_not_a_plain_word_is_not_taken(request_id):
    assert given_id(request_id) == ""
    assert given_id(request_id.encode()) == ""


@pytest.mark.parametrize("request_id", ["a b", "x" * 129, "<script>"])
def test_a_call_with_an_id_that_is_not_taken_gets_another_one(shared, request_id):
    shared.service.fault = InvalidRequest("no")
    (sent,), _ = call(shared, "Fail", request_id)
    assert sent != request_id
    assert call(shared, "Quick", request_id) == ([], grpc.StatusCode.OK)
