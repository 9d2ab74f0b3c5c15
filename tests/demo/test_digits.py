"""The split that the shipped model and the demo agree on."""

import hashlib

import numpy as np
import pytest

from tests.support.late_import import LateImport

datasets = LateImport("sklearn.datasets")
demo_digits = LateImport("euclidesdb_server.demo.digits")  # which imports scikit-learn


@pytest.fixture(scope="module")
def split():
    return demo_digits.split_digits()


def ids(digits):
    return [digit.id for digit in digits]


def test_1500_digits_are_added_and_the_other_297_held_out(split):
    assert (len(split.added), len(split.held_out)) == (1500, 297)
    assert sorted(ids(split.added) + ids(split.held_out)) == [f"digit-{n:04d}" for n in range(1797)]


def test_every_class_has_its_share_of_both_parts(split):
    added = np.bincount([digit.label for digit in split.added], minlength=10)
    held_out = np.bincount([digit.label for digit in split.held_out], minlength=10)
    assert np.abs(held_out / (added + held_out) - 297 / 1797).max() < 0.005


def test_the_split_is_the_one_the_shipped_model_was_trained_on(split):
    # Another order or another part would measure the model with images it has learned from.
    order = "\n".join(ids(split.added) + ids(split.held_out))
    assert hashlib.sha256(order.encode()).hexdigest()[:16] == "4dcd083b6374f2da"


def test_a_png_holds_the_digit_of_the_data_set(split):
    data = datasets.load_digits()
    for digit in split.held_out[:20]:
        index = int(digit.id.removeprefix("digit-"))
        pixels = demo_digits.decode_png(digit.png)
        assert pixels.shape == (8, 8)
        np.testing.assert_array_equal(np.rint(pixels / 255 * 16), data.images[index])
        assert digit.label == data.target[index]
