"""The numbers of a server, from messages: each field has the name of the message's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from google.protobuf.message import Message

from euclidesdb._stats_types import CallStats, Histogram, ModelStats, ServerStats
from euclidesdb_protos.v1 import database_pb2 as pb

T = TypeVar("T", CallStats, ModelStats, ServerStats)


def server_stats(message: pb.StatsReply) -> ServerStats:
    """The value of a reply."""
    return _made(
        ServerStats,
        message,
        models=tuple(_made(ModelStats, each) for each in message.models),
        calls=tuple(_made(CallStats, each) for each in message.calls),
    )


def _made(kind: type[T], message: Message, **known: Any) -> T:
    names = [field.name for field in fields(kind)]
    values = {name: known[name] if name in known else _value(message, name) for name in names}
    return kind(**values)


def _value(message: Message, name: str) -> Any:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and field.message_type is None and not message.HasField(name):
        return None
    value = getattr(message, name)
    if isinstance(value, pb.StatsHistogram):
        return Histogram(tuple(value.bounds), tuple(value.counts), value.total)
    return dict(value) if name == "by_status" else value
