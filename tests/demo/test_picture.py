"""The demo's picture: its size, and frames that tell right from wrong."""

import pytest
from PIL import ImageColor

from tests.support.late_import import LateImport

demo_digits = LateImport("euclidesdb_server.demo.digits")  # which imports scikit-learn
demo_picture = LateImport("euclidesdb_server.demo.picture")


@pytest.fixture(scope="module")
def digits():
    return demo_digits.split_digits().added


def row(digits, *labels):
    """A 3 as the query, and neighbors of these classes."""
    of_class = {digit.label: digit for digit in digits}
    return demo_picture.PictureRow(of_class[3], tuple((of_class[label], 0.25) for label in labels))


def draw(*rows):
    return demo_picture.draw_picture(rows, title="Title", subtitle="Subtitle")


def frames(picture, color):
    """How many frames of a color there are; their captions have fewer pixels than a frame."""
    counts = {value: count for count, value in picture.getcolors(maxcolors=1 << 20)}
    tile, frame = demo_picture.TILE, demo_picture.FRAME
    frame_pixels = tile**2 - (tile - 2 * frame) ** 2
    return counts.get(ImageColor.getrgb(color), 0) // frame_pixels


def test_neighbors_of_the_same_class_have_green_frames(digits):
    picture = draw(row(digits, 3, 3, 3, 3, 3))
    assert frames(picture, demo_picture.SAME_CLASS) == 5
    assert frames(picture, demo_picture.OTHER_CLASS) == 0


def test_neighbors_of_another_class_have_red_frames(digits):
    picture = draw(row(digits, 3, 8, 3, 9, 3))
    assert frames(picture, demo_picture.SAME_CLASS) == 3
    assert frames(picture, demo_picture.OTHER_CLASS) == 2


def test_ten_rows_of_five_make_a_portrait_that_fits_a_page(digits):
    picture = draw(*[row(digits, 3, 3, 3, 3, 3)] * 10)
    assert picture.mode == "RGB"
    assert picture.size == (812, 1602)


def test_each_row_adds_the_same_height(digits):
    heights = [draw(*[row(digits, 3, 8)] * rows).height for rows in (1, 2, 3)]
    assert heights[1] - heights[0] == heights[2] - heights[1] == 144
