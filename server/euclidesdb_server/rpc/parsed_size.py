"""What a request takes in memory once it is parsed, by its descriptor: at most so many bytes.

protobuf's C library, upb, gives each message within a message a struct of its own, however short
it is in the request: two bytes of an empty item become 120, six of a map's entry 260. The sizes
here are those of upb on 64-bit machines, rounded up; `tests/rpc/test_parsed_size.py` compares them
with the memory that is really taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types: how the bytes of a field are given."""
POINTER_BYTES: Final = 8
STRING_BYTES: Final = 16
"""A pointer and a length."""
ENTRY_BYTES: Final = 256
"""Of a map, with its share of the table; the first entry of a map takes as much."""
GROWTH: Final = 3
"""An array of n elements has room for up to 2 n, and the smaller ones before it stay until the
message is freed."""

_SCALAR_BYTES: Final = {
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    FieldDescriptor.CPPTYPE_STRING: STRING_BYTES,
    FieldDescriptor.CPPTYPE_MESSAGE: POINTER_BYTES,
}


@dataclass(frozen=True, slots=True)
class Part:
    """What a field adds. once: bytes for the field itself. per_byte: for each of its bytes.

    fields: of its messages, by tag; None: it has none.
    """

    once: int
    per_byte: int = 0
    fields: Parts | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The fields of a message type that take memory, by tag: the number, then the wire type."""

    by_tag: dict[int, Part] = field(default_factory=dict)


def parts_of(message: Descriptor, known: dict[str, Parts] | None = None) -> Parts:
    """Those of a message type. known: those of the types that were met, which may contain it."""
    known = {} if known is None else known
    if message.full_name not in known:
        parts = known[message.full_name] = Parts()
        for each in message.fields:
            _add(parts, each, known)
    return known[message.full_name]


def _add(parts: Parts, of: FieldDescriptor, known: dict[str, Parts]) -> None:
    tag = of.number << 3
    element = GROWTH * _element_bytes(of) if of.is_repeated else 0
    if of.message_type is not None:
        inner = parts_of(of.message_type, known)
        is_entry = of.message_type.GetOptions().map_entry
        struct = ENTRY_BYTES if is_entry else _struct_bytes(of.message_type)
        parts.by_tag[tag | LENGTH] = Part(struct + element, 0, inner)
    elif of.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        parts.by_tag[tag | LENGTH] = Part(element + POINTER_BYTES, 1)
    elif of.is_repeated:
        kind = {1: FIXED64, 5: FIXED32}.get(_wire_type(of), VARINT)
        parts.by_tag[tag | kind] = Part(element)
        # packed: at least one byte for each
        parts.by_tag[tag | LENGTH] = Part(element, element if kind == VARINT else GROWTH)


def _element_bytes(of: FieldDescriptor) -> int:
    return _SCALAR_BYTES.get(of.cpp_type, 8)


def _wire_type(of: FieldDescriptor) -> int:
    if of.type in (of.TYPE_DOUBLE, of.TYPE_FIXED64, of.TYPE_SFIXED64):
        return FIXED64
    return FIXED32 if of.type in (of.TYPE_FLOAT, of.TYPE_FIXED32, of.TYPE_SFIXED32) else VARINT


def _struct_bytes(message: Descriptor) -> int:
    """Of the message itself: a header, a bit for each field, and the fields."""
    sizes: dict[str, int] = {}
    for each in message.fields:
        size = POINTER_BYTES if each.is_repeated else _element_bytes(each)
        oneof = each.containing_oneof
        name = each.name if oneof is None else f"oneof {oneof.name}"
        sizes[name] = max(size + 4 * (oneof is not None), sizes.get(name, 0))
    return 8 * (4 + sum(sizes.values()) // 8)
