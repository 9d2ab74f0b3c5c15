"""What a file has besides its pixels never decides whether the model gets them."""

import struct
import zlib
from itertools import product

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from euclidesdb_server.worker.inputs import Undecodable
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message
from tests.support.images import encoded, noise
from tests.worker.image_files import QUARTERS, chunk, image_input, pixels, png, png_of_nothing

MEBIBYTES = bytes(20 << 20)
SIDE_DATA = {
    "zTXt": b"comment\0\0" + zlib.compress(MEBIBYTES),
    "iTXt": b"comment\0\1\0\0\0" + zlib.compress(MEBIBYTES),
    "tEXt": b"comment\0" + MEBIBYTES,
    "iCCP": b"profile\0\0" + zlib.compress(MEBIBYTES),
    "pHYs": b"\0",
    "tIME": b"",
    "gAMA": b"\0\0",
    "acTL": b"\0",
    "eXIf": b"garbage",
    "abCD": b"of a program's own",
}


@each_as_subtest(
    ("name", "damaged", "place"), product(SIDE_DATA, [False, True], ["before", "behind"])
)
def test_side_data_of_a_png_does_not_cost_the_image(name, damaged, place):
    part = chunk(name.encode(), SIDE_DATA[name], damaged=damaged)
    before, behind = ([part], []) if place == "before" else ([], [part])
    data = png(*behind, samples=QUARTERS, before=b"".join(before))
    np.testing.assert_array_equal(pixels(data)[:, :, 0], QUARTERS)


def test_a_transparent_color_stays_when_side_data_is_left_out():
    before = chunk(b"tRNS", b"\0\xc8") + chunk(b"zTXt", SIDE_DATA["zTXt"])
    got = pixels(png(samples=QUARTERS, before=before))[:, :, 0]
    np.testing.assert_array_equal(got, np.where(QUARTERS == 200, 255, QUARTERS))


def test_a_transparent_color_whose_checksum_is_wrong_is_left_out():
    before = chunk(b"tRNS", b"\0\xc8", damaged=True)
    np.testing.assert_array_equal(pixels(png(samples=QUARTERS, before=before))[:, :, 0], QUARTERS)


def test_the_orientation_stays_when_side_data_is_left_out():
    exif = Image.Exif()
    exif[0x0112] = 6
    before = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    before += chunk(b"zTXt", SIDE_DATA["zTXt"])
    got = pixels(png(samples=QUARTERS, before=before))[:, :, 0]
    np.testing.assert_array_equal(got, np.rot90(QUARTERS, -1))


def test_a_wrong_checksum_of_the_header_is_refused():
    data = bytearray(png(samples=QUARTERS))
    data[32] ^= 1
    message = error_message(Undecodable, image_input().decode, bytes(data))
    assert message.startswith("the PNG image cannot be decoded: broken PNG file")


def test_side_data_does_not_hide_a_bomb():
    header_and_pixels = png_of_nothing(50_000, 40_000)
    data = header_and_pixels[:33] + chunk(b"zTXt", SIDE_DATA["zTXt"]) + header_and_pixels[33:]
    message = error_message(Undecodable, image_input().decode, data)
    assert message == "the image has 50000 x 40000 pixels; at most 1000000 are decoded"


@each_as_subtest("options", [
    {"icc_profile": bytes(3 << 20)},
    {"icc_profile": b"garbage"},
    {"exif": b"Exif\0\0garbage"},
    {"comment": b"x" * 60_000},
    {"dpi": (0, 0)},
], ids=" ".join)  # fmt: skip
def test_side_data_of_a_jpeg_does_not_cost_the_image(options):
    image = noise(1)
    expected = pixels(encoded(image, "JPEG"))
    np.testing.assert_array_equal(pixels(encoded(image, "JPEG", **options)), expected)


SEGMENTS = (b"", b"\0", b"Exif\0\0MM", b"ICC_PROFILE\0", b"Photoshop 3.0\x008BIM", b"Adobe\0",
            b"MPF\0garbage", b"JFIF\0")  # fmt: skip


@each_as_subtest(("marker", "content"), product(range(0xE0, 0xF0), SEGMENTS))
def test_a_damaged_segment_of_a_jpeg_does_not_cost_the_image(marker, content):
    data = encoded(noise(1), "JPEG")
    segment = struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content
    assert pixels(data[:2] + segment + data[2:]).shape == (16, 16, 3)


def test_a_png_is_rotated_as_its_xmp_requires():
    info = PngInfo()
    info.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="t"><a tiff:Orientation="3"/></x:xmpmeta>',
    )
    image = noise(1)
    np.testing.assert_array_equal(
        pixels(encoded(image, pnginfo=info)), np.rot90(np.asarray(image), 2)
    )


TRUNCATABLE = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "PPM")


@each_as_subtest("kind", TRUNCATABLE)
def test_a_truncated_file_gives_the_rows_it_has_if_the_model_takes_them(kind):
    image = Image.fromarray(np.kron(np.asarray(noise(1, size=8)), np.ones((8, 8, 1), np.uint8)))
    data = encoded(image, kind, **({"interlace": 0} if kind == "GIF" else {}))
    got = pixels(data[: len(data) * 3 // 4], allow_truncated=True)
    assert got.shape == (64, 64, 3)
    whole = pixels(data)
    rows = slice(56, 64) if kind == "BMP" else slice(0, 8)  # a BMP begins with the lowest row
    np.testing.assert_array_equal(got[rows], whole[rows])
    assert not np.array_equal(got, whole)


def test_a_truncated_progressive_jpeg_gives_a_coarse_image():
    image = Image.fromarray(np.kron(np.asarray(noise(1, size=8)), np.ones((8, 8, 1), np.uint8)))
    data = encoded(image, "JPEG", progressive=True, quality=95)
    got = pixels(data[: len(data) // 2], allow_truncated=True)
    assert np.abs(got.astype(int) - np.asarray(image)).mean() < 40


@each_as_subtest("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP", "AVIF", "ICO"])
def test_a_file_without_any_rows_is_refused_in_any_case(kind):
    data = encoded(noise(1, size=64), kind)
    at = {"PNG": data.find(b"IDAT") + 6, "GIF": 13 + 768 + 12}.get(kind, 60)
    message = error_message(Undecodable, image_input(allow_truncated=True).decode, data[:at])
    assert kind in message


@pytest.mark.parametrize("truncated", [False, True])
def test_a_complete_file_is_the_same_whatever_is_allowed(truncated):
    data = encoded(noise(1))
    np.testing.assert_array_equal(pixels(data, allow_truncated=truncated), noise(1))
