"""Every kind of image reaches the model as the colors that a viewer shows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.cases import each_as_subtest
from tests.support.images import encoded, noise
from tests.worker.image_files import LOSSLESS, image_input, pixels

WHITE = (255, 255, 255)


def sample_image(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_rgb_pixels_reach_the_model_exactly():
    image = sample_image(12, 8)
    inputs = image_input()
    (batch,) = inputs.collate([inputs.decode(encoded(image))], torch.device("cpu"))
    assert batch.dtype == torch.float32
    expected = np.asarray(image).transpose(2, 0, 1)[np.newaxis].astype(np.float32) / 255
    np.testing.assert_array_equal(batch.numpy(), expected)


def test_black_is_zero_and_white_is_one():
    inputs = image_input()
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), WHITE)
    (batch,) = inputs.collate([inputs.decode(encoded(image))], torch.device("cpu"))
    assert batch[0, :, 0, 0].tolist() == [0, 0, 0]
    assert batch[0, :, 0, 1].tolist() == [1, 1, 1]


def test_an_image_keeps_its_own_size_by_default():
    assert image_input().decode(encoded(sample_image(13, 7))).shape == (3, 7, 13)


@each_as_subtest("kind", LOSSLESS)
def test_a_lossless_file_is_decoded_exactly(kind):
    image = sample_image(12, 8)
    np.testing.assert_array_equal(pixels(encoded(image, kind, **LOSSLESS[kind])), image)


def test_gray_is_the_same_in_every_channel():
    image = noise(2, mode="L")
    got = pixels(encoded(image))
    for channel in range(3):
        np.testing.assert_array_equal(got[:, :, channel], image)


def test_a_palette_image_has_its_colors():
    image = sample_image(12, 8).quantize(16)
    np.testing.assert_array_equal(pixels(encoded(image)), image.convert("RGB"))


def test_the_transparent_color_of_a_palette_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, transparency=0)).tolist() == [[[*WHITE], [40, 50, 60]]]


def test_the_transparent_color_of_a_gif_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, "GIF", transparency=0)).tolist() == [[[*WHITE], [40, 50, 60]]]


@pytest.mark.parametrize(
    ("mode", "background", "color"), [("RGB", (1, 2, 3), (200, 100, 0)), ("L", 7, 90)]
)
def test_a_color_named_transparent_is_white(mode, background, color):
    image = Image.new(mode, (2, 1), background)
    image.putpixel((1, 0), color)
    got = pixels(encoded(image, transparency=background))
    assert got[0, 0].tolist() == [*WHITE]
    np.testing.assert_array_equal(got[0, 1], color)


def test_alpha_is_laid_over_white():
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (200, 100, 0, alpha))
    got = pixels(encoded(image))[0].astype(int)
    half = [255 + (channel - 255) * 128 / 255 for channel in (200, 100, 0)]
    np.testing.assert_allclose(got, [WHITE, half, (200, 100, 0)], atol=1)


def test_gray_with_alpha_is_laid_over_white():
    image = Image.new("LA", (2, 1), (40, 0))
    image.putpixel((1, 0), (40, 255))
    assert pixels(encoded(image)).tolist() == [[[*WHITE], [40, 40, 40]]]


def test_cmyk_becomes_the_colors_it_prints():
    image = Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    assert pixels(encoded(image, "TIFF")).tolist() == [[[255, 0, 0], [0, 0, 0]]]


def test_a_cmyk_jpeg_is_not_a_negative():
    got = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(got.astype(int), np.broadcast_to((255, 0, 0), got.shape), atol=8)


def test_one_bit_is_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[[0, 0, 0], [*WHITE]]]


WIDE = np.array([[0, 257, 32768, 65535]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_its_brightness(kind):
    image = Image.fromarray(WIDE.astype(np.uint16))
    assert pixels(encoded(image, kind))[0, :, 0].tolist() == [0, 1, 127, 255]


def test_a_big_endian_tiff_keeps_its_brightness():
    image = Image.frombytes("I;16B", (4, 1), WIDE.astype(">u2").tobytes())
    assert pixels(encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 1, 127, 255]


# EXIF 2.32, tag 274: what a viewer does with the stored rows and columns
UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@each_as_subtest("orientation", UPRIGHT)
def test_an_image_is_rotated_by_its_exif_orientation(orientation):
    image = sample_image(12, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = UPRIGHT[orientation](np.asarray(image))
    np.testing.assert_array_equal(pixels(encoded(image, exif=exif)), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0"])
def test_damaged_exif_does_not_cost_the_image(kind, exif):
    image = sample_image(12, 8)
    data = encoded(image, kind, exif=exif, **LOSSLESS[kind])
    np.testing.assert_array_equal(pixels(data), image)


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(data), frames[0])


def test_an_image_of_several_is_its_first():
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    got = pixels(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(got.astype(int), np.asarray(frames[0]), atol=3)


def test_a_progressive_jpeg_is_the_same_image():
    image = noise(3, size=32)
    baseline = pixels(encoded(image, "JPEG"))
    progressive = pixels(encoded(image, "JPEG", progressive=True))
    np.testing.assert_allclose(progressive.astype(int), baseline, atol=2)


def test_image_mode_l_gives_one_channel_of_brightness():
    image = sample_image(12, 8)
    got = pixels(encoded(image), image_mode="L")
    luma = np.asarray(image) @ [0.299, 0.587, 0.114]  # ITU-R 601-2
    np.testing.assert_allclose(got[:, :, 0], luma, atol=1)
    assert got.shape == (8, 12, 1)


def test_alpha_is_laid_over_white_in_gray_too():
    assert pixels(encoded(Image.new("RGBA", (1, 1))), image_mode="L").tolist() == [[[255]]]
