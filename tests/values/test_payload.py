"""The digest of a payload, which is stored with items and never changes."""

from __future__ import annotations

import hashlib

from euclidesdb_server.values.payload import Payload


def test_the_digest_covers_the_kind_and_the_data():
    payload = Payload("image", b"bytes")
    assert payload.digest == hashlib.sha256(b"image\0bytes").digest()
    assert Payload("text", b"bytes").digest != payload.digest


def test_the_digest_is_computed_once():
    payload = Payload("image", b"bytes")
    assert payload.digest is payload.digest


def test_payloads_are_equal_whether_or_not_their_digest_was_computed():
    first, second = Payload("text", b"a"), Payload("text", b"a")
    assert first.digest
    assert first == second
