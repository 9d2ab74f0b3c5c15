"""Samples of every type are read in their declared range, or in the usual one that they fill."""

import numpy as np
import pytest
from PIL import Image

from euclidesdb_server.worker.inputs import Undecodable
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message
from tests.support.images import encoded
from tests.worker.image_files import QUARTERS, chunk, image_input, png, quarters, tiff

GRAYS = [200, 50, 120, 10]
WIDE = QUARTERS.astype(np.int64)

SAMPLES: dict[str, np.ndarray] = {
    "float32 in 0..1": (WIDE / 255).astype(np.float32),
    "float32 in 0..255": WIDE.astype(np.float32),
    "float32 in 0..65535": (WIDE * 257).astype(np.float32),
    "float32 that overshoots 0..1": np.pad(WIDE / 255, 1, constant_values=1.06).astype(np.float32)[
        1:-1, 1:-1
    ],
    "float64 in 0..1": WIDE / 255,
    "float64 in 0..255": WIDE.astype(np.float64),
    "int8": (WIDE - 128).astype(np.int8),
    "uint8": WIDE.astype(np.uint8),
    "int16": (WIDE * 257 - 32768).astype(np.int16),
    "int16 without a sign": (WIDE * 128).astype(np.int16),
    "int16 in 0..255": WIDE.astype(np.int16),
    "uint16": (WIDE * 257).astype(np.uint16),
    "int32": (WIDE * 16843009 - 2**31).astype(np.int32),
    "int32 without a sign": (WIDE * (2**31 // 255)).astype(np.int32),
    "int32 in 0..255": WIDE.astype(np.int32),
    "int32 in 0..65535": (WIDE * 257).astype(np.int32),
    "uint32": (WIDE * 16843009).astype(np.uint32),
    "uint32 in 0..255": WIDE.astype(np.uint32),
    "uint32 in 0..65535": (WIDE * 257).astype(np.uint32),
}


@each_as_subtest("name", SAMPLES)
@pytest.mark.parametrize("deflate", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_samples_of_a_tiff_are_read_in_their_range(name, order, deflate):
    samples = SAMPLES[name]
    got = quarters(tiff(samples, order=order, deflate=deflate))
    np.testing.assert_allclose(got, GRAYS, atol=1)


@each_as_subtest("name", ["uint8", "uint16", "uint32", "float32 in 0..1", "float64 in 0..1"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_whose_smallest_sample_is_white_is_not_a_negative(name, order):
    samples = SAMPLES[name]
    white = samples.dtype.type(1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max)
    np.testing.assert_allclose(
        quarters(tiff(white - samples, photometric=0, order=order)), GRAYS, atol=1
    )


def test_twelve_bits_are_read_as_twelve():
    values = np.repeat(np.array([[0, 4095], [2048, 1024]]), 2, axis=1)
    packed = []
    for first, second in values.reshape(-1, 2):
        packed += [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    data = tiff(np.array(packed, np.uint8).reshape(2, 6), bits=12)
    data = data.replace((6).to_bytes(4, "little"), (4).to_bytes(4, "little"), 1)  # the width
    assert quarters(data) == [0, 255, 127, 63]


UNKNOWN: dict[str, np.ndarray] = {
    "floats from -1 to 1": WIDE.astype(np.float32) / 127.5 - 1,
    "floats from 0 to 1000": WIDE.astype(np.float32) * 5,
    "floats up to 3": WIDE.astype(np.float32) / 70,
    "floats up to 1e9": WIDE.astype(np.float32) * 5e6,
    "CT numbers": (WIDE * 10 - 1000).astype(np.int16),
    "int32 up to 2000": (WIDE * 10).astype(np.int32),
    "int32 with small signed values": (WIDE - 100).astype(np.int32),
    "uint32 up to a million": (WIDE * 5000).astype(np.uint32),
}


@each_as_subtest("name", UNKNOWN)
def test_a_range_that_is_not_known_is_refused_with_the_samples(name):
    message = error_message(Undecodable, image_input().decode, tiff(UNKNOWN[name]))
    assert message.startswith("the range of the image's ")
    low, high = UNKNOWN[name].min(), UNKNOWN[name].max()
    assert f"samples, from {low:g} to {high:g}, is not known" in message


@each_as_subtest("samples", [WIDE.astype(np.uint16), (WIDE / 1e6).astype(np.float32)],
                 ids=["16 bits that hold 8", "dark floats"])  # fmt: skip
def test_an_image_is_not_reduced_to_one_shade(samples):
    message = error_message(Undecodable, image_input().decode, tiff(samples))
    assert "are all one shade in their range of 0 to " in message


@each_as_subtest("value", [0, 7, 65535])
def test_an_image_of_one_sample_is_of_one_shade(value):
    assert quarters(tiff(np.full((4, 4), value, np.uint16))) == [value // 257] * 4


def test_what_is_not_a_number_is_black_and_infinity_is_white():
    samples = np.array([[np.nan, 0.5], [np.inf, -np.inf]], np.float32)
    assert quarters(tiff(samples)) == [0, 128, 255, 0]


def test_only_what_is_not_a_number_is_black():
    assert quarters(tiff(np.full((2, 2), np.nan, np.float32))) == [0] * 4


@each_as_subtest("dtype", [np.float16, np.int64, np.uint64])
def test_a_tiff_that_pillow_cannot_read_is_called_one(dtype):
    message = error_message(Undecodable, image_input().decode, tiff(WIDE.astype(dtype)))
    assert message.startswith("the image is a TIFF whose pixel format cannot be read: ")
    assert f"of {8 * np.dtype(dtype).itemsize} bits" in message


def test_a_tiff_of_colored_floats_is_called_one():
    data = tiff(np.zeros((2, 2, 3), np.float32), photometric=2)
    assert error_message(Undecodable, image_input().decode, data) == (
        "the image is a TIFF whose pixel format cannot be read: 3 samples per pixel of 32 bits, "
        "floating-point, photometric interpretation 2, compression 1"
    )


@pytest.mark.filterwarnings("default:Corrupt EXIF data")  # as in a worker
def test_a_tiff_without_a_directory_is_called_one():
    message = error_message(Undecodable, image_input().decode, b"II*\0\xff\xff\xff\xff")
    assert message.startswith("the image is a TIFF whose pixel format cannot be read: ")


def test_the_transparent_gray_of_a_png_of_16_bits_is_white():
    samples = (WIDE * 257).astype(np.uint16)
    transparent = chunk(b"tRNS", (200 * 257).to_bytes(2, "big"))
    assert quarters(png(samples=samples, before=transparent)) == [255, 50, 120, 10]


def test_only_the_exact_gray_of_16_bits_is_transparent():
    samples = (WIDE * 257).astype(np.uint16)
    transparent = chunk(b"tRNS", (200 * 257 + 1).to_bytes(2, "big"))
    assert quarters(png(samples=samples, before=transparent)) == GRAYS


def test_the_transparent_color_of_a_png_of_16_bits_is_white():
    samples = np.repeat((WIDE * 257).astype(np.uint16)[:, :, None], 3, axis=2)
    transparent = chunk(b"tRNS", (50 * 257).to_bytes(2, "big") * 3)
    assert quarters(png(samples=samples, before=transparent)) == [200, 255, 120, 10]


@each_as_subtest("bits", [1, 2, 4])
def test_the_transparent_gray_of_a_png_of_few_bits_is_white(bits):
    top = 2**bits - 1
    data = bytearray(png(samples=np.array([[top << (8 - bits)], [0]], np.uint8),
                         before=chunk(b"tRNS", b"\0\0")))  # fmt: skip
    header = bytes(data[16:24]) + bytes([bits]) + bytes(data[25:29])
    data[8 : 8 + 25] = chunk(b"IHDR", header)
    assert quarters(bytes(data)) == [255, 255, 255, 255]


def pillow_image(samples):
    return encoded(Image.fromarray(samples), "TIFF")


def test_a_pillow_image_of_floats_is_scaled():
    assert quarters(pillow_image((WIDE / 255).astype(np.float32))) == GRAYS


def test_a_pillow_image_of_32_bits_is_read_as_eight_or_sixteen():
    assert quarters(pillow_image(WIDE.astype(np.int32))) == GRAYS
    assert quarters(pillow_image((WIDE * 257).astype(np.int32))) == GRAYS


def test_a_wide_image_is_the_same_in_bands(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 65536, (37, 11), dtype=np.uint16)
    whole = image_input().decode(tiff(samples))
    monkeypatch.setattr("euclidesdb_server.worker.inputs.image_samples.BAND_PIXELS", 25)
    assert image_input().decode(tiff(samples)).equal(whole)
    np.testing.assert_array_equal(whole[0], samples // 257)


@each_as_subtest("kind", ["BMP", "ICO", "TIFF"])
def test_an_alpha_of_0_everywhere_counts_as_unused_where_programs_write_it_so(kind):
    image = Image.new("RGBA", (16, 16), (200, 50, 120, 0))
    options = {"sizes": [(16, 16)], "bitmap_format": "bmp"} if kind == "ICO" else {}
    data = (
        bitmap_with_alpha(np.asarray(image)) if kind == "BMP" else encoded(image, kind, **options)
    )
    assert image_input().decode(data)[:, 3, 3].tolist() == [200, 50, 120]


def bitmap_with_alpha(samples):
    """A BMP of 32 bits whose header (BITMAPV5) declares an alpha channel."""
    height, width, _ = samples.shape
    masks = [0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000]
    header = b"".join(
        value.to_bytes(size, "little")
        for value, size in [(124, 4), (width, 4), (height, 4), (1, 2), (32, 2), (3, 4),
                            (4 * width * height, 4), (0, 16), *((mask, 4) for mask in masks)]
    ).ljust(124, b"\0")  # fmt: skip
    data = samples[::-1, :, [2, 1, 0, 3]].tobytes()
    offset = 14 + len(header)
    start = b"BM" + (offset + len(data)).to_bytes(4, "little") + bytes(4)
    return start + offset.to_bytes(4, "little") + header + data


def test_an_alpha_that_a_bitmap_uses_is_laid_over_white():
    samples = np.zeros((2, 2, 4), np.uint8)
    samples[0, 0] = (10, 20, 30, 255)
    got = image_input().decode(bitmap_with_alpha(samples))
    assert got[:, 0, 0].tolist() == [10, 20, 30]
    assert got[:, 1, 1].tolist() == [255, 255, 255]


def test_a_png_that_is_all_transparent_is_white():
    assert image_input().decode(encoded(Image.new("RGBA", (2, 2))))[:, 0, 0].tolist() == [255] * 3
