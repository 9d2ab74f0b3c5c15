"""The labels that a search is restricted to, as a mask over the rows of a segment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from euclidesdb_server.index import allowed_labels
from euclidesdb_server.index.allowed_labels import AllowedLabels

some_labels = st.sets(st.integers(1, 300), max_size=200)


@pytest.mark.parametrize("table", [1, 1 << 20])
def test_a_mask_has_the_rows_with_these_labels(table, monkeypatch):
    monkeypatch.setattr(allowed_labels, "SMALL_TABLE", table)
    monkeypatch.setattr(allowed_labels, "MAX_SPARSITY", table)

    @given(some_labels, some_labels)
    def check(allowed, labels):
        of_rows = np.array(sorted(labels), np.int64)
        mask = AllowedLabels(np.array([*allowed], np.int64)).mask(of_rows)
        assert mask.as_bool().tolist() == [label in allowed for label in of_rows.tolist()]

    check()


@given(some_labels, st.integers(1, 300), st.integers(1, 300))
def test_successive_labels_are_among_them_as_others_are(allowed, start, count):
    labels = np.arange(start, start + count)
    mask = AllowedLabels(np.array([*allowed], np.int64)).mask(labels)
    assert mask.as_bool().tolist() == [label in allowed for label in labels.tolist()]
    assert mask.count == len(allowed.intersection(labels.tolist()))
