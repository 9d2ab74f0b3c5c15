"""Request ids: the words by which a call is found in logs, those of clients and ours.

A client may send one in its metadata, under `x-request-id`. What is not a plain word is not taken:
it will stand in logs. Else the server makes one.
"""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final

KEY: Final = "x-request-id"
MAX_CHARACTERS: Final = 128
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_OURS: Final = secrets.token_hex(4)
_NUMBERS: Final = itertools.count(1)


def given_id(value: bytes | str | None) -> str:
    """The id that a client has sent; "" if it sent none that can be taken."""
    if value is None or len(value) > MAX_CHARACTERS:
        return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text if _WORD.fullmatch(text) else ""


def new_id() -> str:
    """One that no other call of this or another server has."""
    return f"{_OURS}-{next(_NUMBERS)}"
