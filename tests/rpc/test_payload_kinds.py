"""The server's table of input kinds."""

from __future__ import annotations

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.rpc import payloads


def test_every_kind_of_raw_item_of_the_protocol_is_in_the_table():
    assert [*payloads.KINDS] == [
        field.name for field in pb.Payload.DESCRIPTOR.oneofs_by_name["content"].fields
    ]
