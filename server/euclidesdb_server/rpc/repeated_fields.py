"""Looks through a long request before it is parsed: its parts may take many times their bytes.

The parts are counted where they are, at any depth, a step for each field whatever its length. What
is shorter than FREE_BYTES takes less than the limit whatever is in it, and is not looked at. Of the
short messages directly in a request, such as items of a few hundred bytes, one in SAMPLED is looked
into, chosen at random, and counts for the others: a caller cannot know which, and must fill
hundreds of them to exceed the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from random import randrange
from typing import Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.parsed_size import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Part,
    Parts,
    parts_of,
)

MAX_PER_CALL: Final = 100_000
"""Items, ids, queries or examples; those sent by columns are limited by the message's size only."""
MAX_FIELDS: Final = 4_000_000
"""Of a request, at any depth. They take a second or so of a thread."""
FREE_BYTES: Final = 512 << 10
BASE_BYTES: Final = 64 << 20
PER_BYTE: Final = 8
"""A parsed request may take BASE_BYTES, and as much again for each of its bytes."""
SHORT_BYTES: Final = 4096
SAMPLED: Final = 8
MAX_DEPTH: Final = 100
"""Messages within messages that protobuf parses."""
REPEATED: Final = {
    "AddItems": "items",
    "AddItemStream": "items",
    "ImportItems": "items",
    "GetItems": "ids",
    "RemoveItems": "ids",
    "FindSimilarBatch": "queries",
}
"""By method, the field of its request that is counted by itself."""
FIXED: Final = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES: Final = 10


def parse_of(method: MethodDescriptor) -> Callable[[bytes], Message]:
    """What makes a request of bytes. Raises InvalidRequest if it would take too much memory."""
    parse: Callable[[bytes], Message] = GetMessageClass(method.input_type).FromString
    parts = parts_of(method.input_type)
    name = REPEATED.get(method.name, "")
    number = method.input_type.fields_by_name[name].number if name else 0

    def checked(data: bytes) -> Message:
        if len(data) > FREE_BYTES:
            check_parts(data, parts, number, name)
        return parse(data)

    return checked


def check_parts(data: bytes, parts: Parts, number: int = 0, name: str = "") -> None:
    """Raise InvalidRequest if a message would take too much memory, or has too many fields.

    number, name: of a field that it may have MAX_PER_CALL times. Bytes that are not a message are
    left to the parser.
    """
    permitted = BASE_BYTES + PER_BYTE * len(data)
    try:
        taken = parsed_bytes(data, parts, permitted, number, name)
    except IndexError:  # they end in the middle of a field
        return
    if taken > permitted:
        raise InvalidRequest(
            f"the request has {len(data):,} bytes in so many parts that it would take more than "
            f"{permitted:,} bytes of memory: send fewer at a time"
        )


def parsed_bytes(  # noqa: PLR0912, PLR0915  function calls for each field would double the time
    data: bytes, parts: Parts, permitted: int, number: int = 0, name: str = ""
) -> int:
    """About how much a message takes in addition to its bytes; or more than `permitted`.

    number, name: as `check_parts`. Raises IndexError where the bytes end in the middle of a field.
    """
    left = permitted
    counted_tag = number << 3 | LENGTH
    position, end, fields = 0, len(data), parts.by_tag
    around: list[tuple[int, dict[int, Part]]] = []  # what is left of the messages around this one
    counted = seen = skipped = 0
    before = left  # a message that counts for others
    weight = 0  # how many others
    while True:
        if position >= end:
            if position > end or not around:
                return permitted - left
            end, fields = around.pop()
            if weight and not around:
                left -= weight * (before - left)
                weight = 0
                if left < 0:
                    return permitted - left
            continue
        seen += 1
        if seen > MAX_FIELDS:
            raise InvalidRequest(f"more than {MAX_FIELDS:,} fields in one call")
        tag = data[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint(data, position - 1)
        kind = tag & 7
        length = 0
        if kind == LENGTH:
            length = data[position]
            position += 1
            if length >= 0x80:
                length, position = _varint(data, position - 1)
        elif kind == VARINT:
            last = position + VARINT_BYTES - 1
            while data[position] >= 0x80 and position <= last:
                position += 1
            if position > last:
                raise IndexError(position)
            position += 1
        elif kind in FIXED:
            position += FIXED[kind]
        else:  # a group, which the parser may read otherwise than it is read here, or nothing
            raise InvalidRequest(
                f"the request cannot be parsed: it has a field of wire type {kind}"
            )
        part = fields.get(tag)
        if part is None:
            position += length
            continue
        left -= part.once + part.per_byte * length
        if left < 0:
            return permitted - left
        if tag == counted_tag and not around:
            counted += 1
            if counted > MAX_PER_CALL:
                raise InvalidRequest(f"more than {MAX_PER_CALL:,} {name} in one call")
        if part.fields is None:
            position += length
        elif length:
            if not around and length <= SHORT_BYTES:
                if skipped:
                    skipped -= 1
                    position += length
                    continue
                skipped = randrange(2 * SAMPLED - 1)  # noqa: S311  no secret; on average SAMPLED - 1
                before, weight = left, SAMPLED - 1
            around.append((end, fields))
            if len(around) > MAX_DEPTH or position + length > end:
                return permitted - left  # the parser refuses it
            end, fields = position + length, part.fields.by_tag


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
