"""Requests with too many small messages are refused before these take memory."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.config.server import Transport
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc import repeated_fields
from euclidesdb_server.rpc.parsed_size import parts_of
from euclidesdb_server.rpc.repeated_fields import (
    FREE_BYTES,
    MAX_FIELDS,
    MAX_PER_CALL,
    REPEATED,
    check_parts,
)
from tests.rpc.test_transports import needs_nghttp2
from tests.support.calls import Stubs
from tests.support.servers import start_server
from tests.support.vector_spaces import save_vector_space

TIMEOUT = 60
EMPTY = b"\x0a\x00"
MANY = 1 << 20
ITEMS = parts_of(pb.DESCRIPTOR.message_types_by_name["AddItemsRequest"])


def check(data):
    check_parts(data, ITEMS, 1, "items")


def refused(data):
    with pytest.raises(InvalidRequest) as caught:
        check(data)
    return str(caught.value)


def test_a_field_is_counted_whatever_is_between():
    padding = pb.AddItemRequest(id="x" * 300, metadata=bytes(1000)).SerializeToString()
    large = pb.AddItemsRequest(items=[pb.AddItemRequest(id="y" * 500)] * 1000).SerializeToString()
    others = b"\x78\x05" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x82\x01\x03abc"
    check(large + others + padding + EMPTY * 90_000)
    assert "more than 100,000 items" in refused(large + others + EMPTY * 100_000)


def test_the_limit_itself_is_permitted():
    check(b"\x0a\x02\x0a\0" * MAX_PER_CALL)
    assert "more than 100,000 items" in refused(b"\x0a\x02\x0a\0" * (MAX_PER_CALL + 1))


@pytest.mark.parametrize(
    "data",
    [EMPTY, b"\x78\x00", b"\x8a\x80\x80\x00\x00"],
    ids=["empty items", "unknown fields", "long tags"],
)
def test_the_walk_ends_at_the_limit(data):
    begun = time.process_time()
    refused(data * (16 << 20))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("data", [b"\x80", b"\xff", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_what_is_not_a_message_is_left_to_the_parser(data):
    begun = time.process_time()
    check(data * (1 << 20))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("kind", [3, 4, 6, 7])
def test_a_field_of_another_kind_is_refused_at_once(kind):
    assert f"a field of wire type {kind}" in refused(bytes([0x78 | kind]) * (16 << 20))


def test_no_group_hides_what_follows_it():
    hidden = b"\xc3\xa9\x07" + b"\x0a\x02\x0a\x7f" + b"\xc4\xa9\x07"
    assert "a field of wire type 3" in refused(hidden + EMPTY * (FREE_BYTES // 2))
    inside = pb.AddItemsRequest(items=[pb.AddItemRequest(id="a" * 1000)]).SerializeToString()
    item = inside[3:] + hidden
    data = b"\x0a" + bytes([0x80 | len(item) & 0x7F, len(item) >> 7]) + item
    assert "a field of wire type 3" in refused(data + EMPTY * (FREE_BYTES // 2))


def test_a_number_without_end_is_left_to_the_parser_at_once():
    begun = time.process_time()
    check(b"\x18" + b"\x80" * (64 << 20))
    assert time.process_time() - begun < 1


def test_parts_of_one_item_are_counted_at_any_depth():
    vector = pb.Vector(values=pb.Array(shape=[1] * (8 << 20)))
    item = pb.AddItemRequest(id="a", vectors={"m": vector})
    data = pb.AddItemsRequest(items=[item]).SerializeToString()
    assert "in so many parts that it would take more than" in refused(data)


def test_parts_of_many_short_items_are_counted():
    item = b"\x1a\x00" * 500  # vectors
    data = (b"\x0a\xe8\x07" + item) * 20_000
    assert pb.AddItemsRequest.FromString(data[:1003]).items[0].vectors
    assert "in so many parts that it would take more than" in refused(data)


def test_a_large_request_of_many_light_items_is_permitted():
    item = pb.AddItemRequest(id="item-000000", attributes_json='{"n": 1}', models=["digits"])
    for model in ("a", "b", "c"):
        item.vectors[model].values.shape.append(3)
        item.vectors[model].values.data = bytes(12)
        item.vectors[model].fingerprint = "0" * 32
    check(pb.AddItemsRequest(items=[item] * MAX_PER_CALL).SerializeToString())


def test_a_request_that_fits_whatever_is_in_it_is_not_looked_at():
    parse: Any = repeated_fields.parse_of(
        pb.DESCRIPTOR.services_by_name["FeatureDatabase"].methods_by_name["AddItems"]
    )
    assert len(parse(EMPTY * (FREE_BYTES // 2)).items) == FREE_BYTES // 2


def test_fields_that_the_server_does_not_know_are_counted():
    assert f"more than {MAX_FIELDS:,} fields" in refused(b"\x78\x00" * (MAX_FIELDS + 1))


def test_each_counted_field_is_there():
    methods = pb.DESCRIPTOR.services_by_name["FeatureDatabase"].methods_by_name
    for method, name in REPEATED.items():
        assert methods[method].input_type.fields_by_name[name].is_repeated
        with pytest.raises(InvalidRequest, match=f"more than 100,000 {name} in one call"):
            repeated_fields.parse_of(methods[method])(EMPTY * MANY)


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def channel(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repeated")
    save_vector_space(folder / "models", feature_dim=3)
    transport = {"transport": Transport(request.param)}
    with (
        start_server(folder / "data", folder / "models", server=transport) as server,
        Stubs(server.address) as stubs,
    ):
        yield stubs.channel


@pytest.mark.parametrize("method", sorted({*REPEATED} - {"AddItemStream"}))
def test_a_call_with_too_many_small_messages_is_refused(channel, method):
    raw = channel.unary_unary(f"/euclidesdb.v1.FeatureDatabase/{method}")
    with pytest.raises(grpc.RpcError, match="more than 100,000 ") as caught:
        raw(EMPTY * MANY, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_of_a_stream_with_too_many_small_messages_ends_it(channel):
    raw = channel.stream_stream("/euclidesdb.v1.FeatureDatabase/AddItemStream")
    with pytest.raises(grpc.RpcError, match="more than 100,000 items") as caught:
        list(raw(iter([EMPTY * MANY]), timeout=TIMEOUT))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
