"""What a person sees who prints what a client returned."""

from __future__ import annotations

import numpy as np

import euclidesdb

FLOATS = np.array([0.5, 10.25], np.float32)


def test_neighbors_print_as_a_table():
    found = euclidesdb.Neighbors(
        "digits", "f00", "l2", ("sku-1", "b"), FLOATS, ({"brand": "acme"}, {})
    )
    assert repr(found).splitlines() == [
        "2 neighbors in 'digits' (l2), nearest first:",
        "  1   0.5000  sku-1  {'brand': 'acme'}",
        "  2  10.2500  b      {}",
    ]
    many = euclidesdb.Neighbors("m", "f", "l2", ("a",) * 12, np.zeros(12, np.float32))
    assert repr(many).splitlines()[-1] == "  and 2 more"
    nothing = euclidesdb.Neighbors("m", "f", "l2", (), np.zeros(0, np.float32))
    assert repr(nothing) == "0 neighbors in 'm' (l2), nearest first:"


def test_what_was_not_requested_and_long_content_is_left_out():
    item = euclidesdb.Item(
        "a", {"n": 1}, b"", (euclidesdb.Embedding("m", "f", FLOATS),), image=b"x" * 1000
    )
    assert repr(item) == (
        "Item(id='a', attributes={'n': 1}, metadata=b'', embeddings=(Embedding(model='m', "
        "fingerprint='f', vector=<float32 array of shape (2,)>),), image=<1,000 bytes>)"
    )
    assert repr(euclidesdb.Neighbor("a", 0.5)) == "Neighbor(id='a', distance=0.5)"
    long = euclidesdb.Item("a", {"text": "x" * 100}, b"")
    assert len(repr(long)) < 130
