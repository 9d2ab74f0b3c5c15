"""Page tokens: where the next page of a list begins. Opaque to clients, and bound to their list."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from euclidesdb_server.columns.ordering import NO_VALUE, NUMBERS, STRINGS, Key, Ordering
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.filters import Filter

_BINDING_BYTES: Final = 8


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    binding: bytes
    kind: int
    value: float | str
    rest: int
    added: int


def page_token(key: Key, condition: Filter | None, ordering: Ordering) -> str:
    """The token of the page after the item at `key`."""
    token = _Token(_binding(condition, ordering), *key)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(token)).decode()


def page_start(text: str, condition: Filter | None, ordering: Ordering) -> Key | None:
    """The place that a token names; None for the first page. Raises InvalidRequest."""
    if not text:
        return None
    try:
        token = msgspec.msgpack.decode(base64.urlsafe_b64decode(text.encode()), type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(
            f"page_token {text[:64]!r} is not one that a list has returned"
        ) from error
    if token.binding != _binding(condition, ordering):
        raise InvalidRequest(
            "page_token is of another list: the filter and the order must stay the same"
        )
    kinds_of_text = isinstance(token.value, str)
    if not NUMBERS <= token.kind <= NO_VALUE or (
        token.kind != NO_VALUE and kinds_of_text != (token.kind == STRINGS)
    ):
        raise InvalidRequest(f"page_token {text[:64]!r} is not one that a list has returned")
    return token.kind, token.value, token.rest, token.added


def _binding(condition: Filter | None, ordering: Ordering) -> bytes:
    # of frozen dataclasses: the same text for the same filter and order
    return hashlib.blake2b(
        repr((condition, ordering)).encode(), digest_size=_BINDING_BYTES
    ).digest()
