"""image_size and resize: the shorter side is resized, the square is cut from the center."""

import numpy as np
import pytest
from PIL import Image

from tests.support.images import encoded, noise
from tests.worker.image_files import image_input, pixels


def striped(width, height):
    """Red, then green, then blue, in three equal parts along the longer side."""
    image = Image.new("RGB", (width, height), "red")
    long = max(width, height)
    for start, color in ((long // 3, "lime"), (2 * long // 3, "blue")):
        box = (start, 0, width, height) if width > height else (0, start, width, height)
        image.paste(color, box)
    return image


@pytest.mark.parametrize("size", [(48, 16), (16, 48)], ids=["landscape", "portrait"])
def test_the_square_is_cut_from_the_center(size):
    got = pixels(encoded(striped(*size)), image_size=16)
    assert got.shape == (16, 16, 3)
    assert (got == [0, 255, 0]).all()


@pytest.mark.parametrize("size", [(96, 32), (32, 96)], ids=["landscape", "portrait"])
def test_the_shorter_side_is_resized_first(size):
    got = pixels(encoded(striped(*size)), image_size=16)
    # green fills the middle third whatever the scale; bilinear smears one pixel at its edges
    assert (got[2:-2, 2:-2] == [0, 255, 0]).all()


def test_an_image_of_the_right_size_is_not_touched():
    image = noise(1, size=16)
    np.testing.assert_array_equal(pixels(encoded(image), image_size=16), image)


def test_a_tiny_image_is_enlarged():
    got = pixels(encoded(Image.new("RGB", (1, 1), (9, 8, 7))), image_size=8)
    assert got.shape == (8, 8, 3)
    assert (got == [9, 8, 7]).all()


def test_resize_alone_keeps_the_proportions():
    assert pixels(encoded(striped(48, 16)), resize=8).shape == (8, 24, 3)


def test_a_larger_resize_leaves_a_margin_out():
    image = Image.new("RGB", (16, 16), "red")
    image.paste("lime", (4, 4, 12, 12))
    got = pixels(encoded(image), image_size=8, resize=16)
    assert (got == [0, 255, 0]).all()


def test_every_shape_of_image_comes_out_square():
    inputs = image_input(image_size=8, resize=9)
    for width in range(1, 21):
        for height in range(1, 21):
            data = encoded(Image.new("L", (width, height)), "BMP")
            assert inputs.decode(data).shape == (3, 8, 8), (width, height)


def test_the_square_is_cut_after_the_image_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (32, 16), "red")
    image.paste("lime", (16, 0, 32, 16))
    got = pixels(encoded(image, exif=exif), resize=16)
    assert got.shape == (32, 16, 3)
    assert (got[:14] == [255, 0, 0]).all()
