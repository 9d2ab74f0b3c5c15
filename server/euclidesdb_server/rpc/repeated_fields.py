"""Counts what a request repeats before it is parsed: messages take many times their bytes then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from euclidesdb_server.errors import InvalidRequest

MAX_PER_CALL: Final = 100_000
"""Items, ids, queries or examples; those sent by columns are limited by the message's size only."""
REPEATED: Final = {
    "AddItems": "items",
    "AddItemStream": "items",
    "ImportItems": "items",
    "GetItems": "ids",
    "RemoveItems": "ids",
    "FindSimilarBatch": "queries",
}
"""By method, the field of its request that is counted."""
FIELD_BYTES: Final = 2
"""At least, with the tag."""
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED: Final = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES: Final = 10


def parse_of(method: MethodDescriptor) -> Callable[[bytes], Message]:
    """What makes a request of bytes. Raises InvalidRequest if it repeats a field too often."""
    parse: Callable[[bytes], Message] = GetMessageClass(method.input_type).FromString
    name = REPEATED.get(method.name)
    if name is None:
        return parse
    number = method.input_type.fields_by_name[name].number

    def checked(data: bytes) -> Message:
        check_repeated(data, number, name)
        return parse(data)

    return checked


def check_repeated(data: bytes, number: int, name: str) -> None:
    """Raise InvalidRequest if a message has a field more than MAX_PER_CALL times, or all others.

    A step for each field, whatever its length. Bytes that are not a message are left to the parser.
    """
    if len(data) <= FIELD_BYTES * MAX_PER_CALL:
        return
    counted = others = position = 0
    try:
        while position < len(data):
            tag, position = _varint(data, position)
            if tag >> 3 == number:
                counted += 1
            else:
                others += 1
            if counted > MAX_PER_CALL or others > MAX_PER_CALL:
                what = name if counted > MAX_PER_CALL else "other fields"
                raise InvalidRequest(f"more than {MAX_PER_CALL:,} {what} in one call")
            kind = tag & 7
            if kind == LENGTH:
                length, position = _varint(data, position)
                position += length
            elif kind == VARINT:
                _, position = _varint(data, position)
            else:
                position += FIXED.get(kind, 0)
    except IndexError:
        return


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and the position after it. Raises IndexError if there is none."""
    found = data[position]
    if found < 0x80:
        return found, position + 1
    found &= 0x7F
    for place in range(1, VARINT_BYTES):
        byte = data[position + place]
        found |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return found, position + place + 1
    raise IndexError(position)
