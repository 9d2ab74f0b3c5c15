"""Requests that take many times their bytes in memory: one kind of part, as often as it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT: Final = 0
LENGTH: Final = 2
MAX_TYPES: Final = 5
"""Messages within messages."""

Make = Callable[[int], bytes]
"""The bytes of a request, of about that length."""


def requests_with_many_parts(message: Descriptor) -> Iterator[tuple[str, Make]]:
    """For each repeated field, also of messages within: its path, and what makes the request."""
    yield from _of(message, lambda data: data, message.name, (message,))


def _of(
    message: Descriptor,
    around: Callable[[bytes], bytes],
    path: str,
    types: tuple[Descriptor, ...],
) -> Iterator[tuple[str, Make]]:
    for field in message.fields:
        name = f"{path}.{field.name}"
        if field.is_repeated:
            yield from _repeated(field, around, name)
        inner = field.message_type
        if inner is not None and inner not in types and len(types) <= MAX_TYPES:

            def wrapped(data: bytes, field: FieldDescriptor = field) -> bytes:
                return around(_field(field, data))

            yield from _of(inner, wrapped, name, (*types, inner))


def _repeated(
    field: FieldDescriptor, around: Callable[[bytes], bytes], name: str
) -> Iterator[tuple[str, Make]]:
    def times(part: bytes) -> Make:
        return lambda size: around(part * (size // len(part)))

    if field.type not in (field.TYPE_MESSAGE, field.TYPE_STRING, field.TYPE_BYTES):
        yield name, times(_varint(field.number << 3 | VARINT) + b"\1")
        yield f"{name}, packed", lambda size: around(_field(field, b"\1" * size))
        return
    yield name, times(_field(field, b""))
    for each in field.message_type.fields if field.message_type else ():
        if each.message_type or each.is_repeated:
            part = _field(field, _field(each, b"" if each.message_type else b"\1"))
            yield f"{name}, each with {each.name}", times(part)


def _field(field: FieldDescriptor, data: bytes) -> bytes:
    return _varint(field.number << 3 | LENGTH) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
