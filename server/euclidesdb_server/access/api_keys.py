"""API keys: how one is made, what is kept of it, and how a call's key is checked.

    euclidesdb_1f0c9a3e_qYx...43 characters of base64url
               ^id      ^secret, 256 random bits

A key is kept as its id and SHA-256. A slow hash, such as scrypt, protects passwords, which can be
guessed: it makes each guess expensive. 256 random bits cannot be guessed, whatever a guess costs,
and a slow hash would cost each call as much as an attacker.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.values.role import Role

MAX_KEY_BYTES: Final = 128
_PREFIX: Final = "euclidesdb"
_KEY: Final = re.compile(rb"euclidesdb_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a key may be called: it appears in logs, and in commands."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. id: 8 hexadecimal digits, not secret. sha256: of the whole key, in
    hexadecimal. created: when, as ISO 8601 in UTC.
    """

    name: str
    role: Role
    id: str
    sha256: str
    created: str


def new_key(name: str, role: Role, created: str) -> tuple[str, ApiKey]:
    """A key, and what is to be kept of it."""
    identifier = secrets.token_hex(4)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode("ascii")
    text = f"{_PREFIX}_{identifier}_{secret}"
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    return text, ApiKey(name, role, identifier, digest, created)


class KeySet:
    """The keys that are accepted now."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = {key.id.encode("ascii"): (bytes.fromhex(key.sha256), key) for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: bytes) -> ApiKey | None:
        """The key that a call has sent; None if it is not accepted.

        The id, which is not secret, selects the one digest that is compared, in a time that does
        not depend on where they differ.
        """
        if len(text) > MAX_KEY_BYTES or (parts := _KEY.fullmatch(text)) is None:
            return None
        known = self._keys.get(parts[1])
        if known is None:
            return None
        digest, key = known
        return key if hmac.compare_digest(hashlib.sha256(text).digest(), digest) else None
