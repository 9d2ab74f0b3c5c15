"""A mask of rows is stored as bits, and queried without unpacking them."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.values.row_mask import RowMask
from tests.support.cases import each_as_subtest

ALLOWED = np.random.default_rng(0).random(1003) < 0.3


def test_a_mask_allows_its_rows():
    mask = RowMask(ALLOWED)
    assert (mask.size, mask.count) == (1003, int(np.count_nonzero(ALLOWED)))
    np.testing.assert_array_equal(mask.as_bool(), ALLOWED)
    np.testing.assert_array_equal(mask.rows(), np.flatnonzero(ALLOWED))
    queried = np.random.default_rng(1).integers(0, 1003, (7, 300))
    np.testing.assert_array_equal(mask.allows(queried), ALLOWED[queried])
    assert mask.allows(queried).dtype == np.bool_


@each_as_subtest("rows", [0, 1, 7, 8, 9, 1003])
def test_a_mask_of_shared_bits_is_that_of_their_bools(rows):
    bits = np.packbits(ALLOWED[:rows], bitorder="little")
    mask = RowMask.shared(bits, rows, int(np.count_nonzero(ALLOWED[:rows])))
    same = RowMask(ALLOWED[:rows])
    assert (mask.size, mask.count) == (same.size, same.count)
    np.testing.assert_array_equal(mask.bits, same.bits)
    np.testing.assert_array_equal(mask.rows(), same.rows())
    with pytest.raises(ValueError, match="read-only"):
        bits[:] = 0


def test_two_masks_allow_what_both_allow():
    other = np.random.default_rng(2).random(1003) < 0.5
    both = RowMask(ALLOWED) & RowMask(other)
    np.testing.assert_array_equal(both.as_bool(), ALLOWED & other)
    assert both.count == int(np.count_nonzero(ALLOWED & other))
