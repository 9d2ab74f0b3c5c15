"""The newer and the older formats: AVIF, HEIC, JPEG 2000, PPM and ICO."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from euclidesdb_server.worker.inputs import Undecodable
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message
from tests.support.images import encoded, noise
from tests.worker.image_files import QUARTERS, image_input, pixels, png_of_nothing, quarters

GRAYS = [200, 50, 120, 10]
LARGE = Image.fromarray(np.kron(QUARTERS, np.ones((8, 8), np.uint8))).convert("RGB")
BRANDS = {
    "AVIF": (b"avif", b"avis", b"mif1"),
    "HEIF": (b"heic", b"heix", b"mif1", b"msf1"),
}


@each_as_subtest("kind", ["AVIF", "HEIF", "JPEG2000", "PPM", "ICO"])
def test_a_file_of_each_format_has_its_colors(kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
    data = encoded(LARGE, kind, **({"sizes": [(64, 64)]} if kind == "ICO" else {}))
    np.testing.assert_allclose(quarters(data), GRAYS, atol=4)


def test_alpha_of_an_avif_is_laid_over_white():
    image = LARGE.copy()
    image.putalpha(
        Image.fromarray(np.where(np.asarray(image)[:, :, 0] == 200, 0, 255).astype("u1"))
    )
    np.testing.assert_allclose(quarters(encoded(image, "AVIF")), [255, 50, 120, 10], atol=4)


@each_as_subtest(("kind", "expected"), [("AVIF", [120, 200, 10, 50]), ("HEIF", GRAYS)])
def test_a_photo_is_rotated_once(kind, expected):
    # The rotation of a HEIC image stands with its pixels; its EXIF repeats it for information.
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_allclose(quarters(encoded(LARGE, kind, exif=exif)), expected, atol=4)


@each_as_subtest("kind", BRANDS)
def test_a_file_that_names_its_brand_behind_another_is_known(kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
    data = encoded(LARGE, kind)
    length = int.from_bytes(data[:4], "big")
    brand = data[8:12]
    box = struct.pack(">I4s4sI", length + 4, b"ftyp", b"mif1", 0) + brand + data[16:length]
    assert error_free(box + data[length:])


def error_free(data):
    """Whether the file is known; its offsets are wrong by the 4 bytes that were added."""
    try:
        image_input().decode(data)
    except Undecodable as error:
        return "the bytes are" not in str(error)
    return True


@each_as_subtest("maxval", [1, 15, 255, 1023, 65535])
def test_samples_of_a_pgm_reach_from_0_to_their_maximum(maxval):
    dtype = np.dtype(">u2" if maxval > 255 else "u1")
    values = np.array([[0, maxval], [maxval // 2, 0]], dtype)
    got = quarters(b"P5 2 2 %d\n" % maxval + values.tobytes())
    np.testing.assert_allclose(got, [0, 255, 255 * (maxval // 2) / maxval, 0], atol=1)


def test_floats_of_a_pfm_are_scaled():
    values = np.flipud(QUARTERS / 255).astype("<f4")
    assert quarters(b"Pf\n8 8\n-1.0\n" + values.tobytes()) == GRAYS


@each_as_subtest("bits", [8, 16])
def test_gray_of_a_jpeg_2000_keeps_its_brightness(bits):
    samples = QUARTERS if bits == 8 else QUARTERS.astype(np.uint16) * 257
    data = encoded(Image.fromarray(samples), "JPEG2000", irreversible=False)
    assert quarters(data) == GRAYS


@each_as_subtest("options", [{}, {"bitmap_format": "bmp"}], ids=["png", "bmp"])
def test_the_largest_image_of_an_icon_is_read(options):
    sizes = [(16, 16), (64, 64), (32, 32)]
    got = pixels(encoded(LARGE, "ICO", sizes=sizes, **options))
    np.testing.assert_array_equal(got, LARGE)


def icon(width, height, image):
    """An icon that declares one image of that size."""
    entry = struct.pack("<4B2H2I", width, height, 0, 0, 1, 32, len(image), 22)
    return struct.pack("<3H", 0, 1, 1) + entry + image


def test_a_bomb_in_an_icon_is_refused_whatever_the_icon_declares():
    message = error_message(
        Undecodable, image_input().decode, icon(16, 16, png_of_nothing(50_000, 40_000))
    )
    assert message == "the image has 50000 x 40000 pixels; at most 1000000 are decoded"
    header = struct.pack("<IiiHHIIiiII", 40, 50_000, 80_000, 1, 8, 1, 0, 0, 0, 0, 0)  # RLE
    message = error_message(Undecodable, image_input().decode, icon(16, 16, header + bytes(99)))
    assert message == "the image has 50000 x 40000 pixels; at most 1000000 are decoded"


def test_a_bomb_in_a_jpeg_2000_is_refused_whatever_its_box_declares():
    stream = io.BytesIO()
    noise(1).save(stream, "JPEG2000", no_jp2=False)
    data = bytearray(stream.getvalue())
    assert data[4:6] == b"jP", "the pixels are in a box, whose header repeats the size"
    size = data.index(b"\xff\x4f\xff\x51") + 8
    data[size : size + 8] = struct.pack(">II", 50_000, 40_000)
    message = error_message(Undecodable, image_input().decode, bytes(data))
    assert message == "the image has 50000 x 40000 pixels; at most 1000000 are decoded"


@each_as_subtest("data", [b"\0\0\1\0\0\0", b"\0\0\1\0\1\0", icon(16, 16, b""), b"P5 ", b"P6\n9",
                          b"\0\0\0\x20ftypavif", b"\xff\x4f\xff\x51\0"], ids=repr)  # fmt: skip
def test_a_file_that_ends_in_its_header_is_undecodable(data):
    assert "image" in error_message(Undecodable, image_input().decode, data)


def test_without_its_package_a_heic_image_is_refused_with_the_extra_to_install(monkeypatch):
    monkeypatch.setattr("euclidesdb_server.worker.inputs.image_files.READS_HEIC", False)
    assert error_message(Undecodable, image_input().decode, bytes(4) + b"ftypheic" + bytes(9)) == (
        "the bytes are a HEIC image, which the server reads with the package pillow-heif: "
        "pip install 'euclidesdb[heic]'"
    )
