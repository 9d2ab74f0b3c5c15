"""Bytes that are not an image, or too large an image, raise Undecodable and nothing else."""

import numpy as np
import pytest
from PIL import Image

from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.inputs.image_files import KNOWN
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message
from tests.support.images import encoded, noise
from tests.worker.image_files import FORMATS, image_input, png_of_nothing, valid_file

NOT_IMAGES = {
    "junk": bytes(range(256)),
    "text": b"not an image",
    "postcard": b"P6S",
}
OTHER_FILES = {
    "a PostScript document": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "an SVG image": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "a PDF document": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a JPEG XL image": b"\xff\x0a" + bytes(30),
    "a Photoshop document": b"8BPS\0\1" + bytes(30),
    "an MP4 video": b"\0\0\0\x18ftypisom" + bytes(30),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


def test_an_empty_payload_is_refused():
    assert error_message(Undecodable, image_input().decode, b"") == "the image is empty"


@each_as_subtest("data", NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_bytes_that_are_not_an_image_are_refused_with_the_known_formats(data):
    assert error_message(Undecodable, image_input().decode, data) == f"the bytes are not {KNOWN}"


@each_as_subtest(("name", "data"), OTHER_FILES.items(), ids=lambda value: str(value)[:20])
def test_another_kind_of_file_is_named(name, data):
    message = error_message(Undecodable, image_input().decode, data)
    assert message == f"the bytes are {name}, not {KNOWN}"


@each_as_subtest("kind", FORMATS)
def test_a_truncated_file_is_refused(kind):
    data = encoded(noise(1, size=64), kind)
    assert "image" in error_message(Undecodable, image_input().decode, data[: len(data) * 2 // 3])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_is_called_truncated(kind):
    data = encoded(noise(1, size=64), kind)
    message = error_message(Undecodable, image_input().decode, data[: len(data) * 2 // 3])
    assert message.startswith(f"the {kind} image cannot be decoded: ")
    assert "truncated" in message


def test_a_bomb_is_refused_by_its_header():
    # there is nothing to decode behind it: had that been tried, it would be "truncated"
    message = error_message(
        Undecodable, image_input(max_pixels=64_000_000).decode, png_of_nothing(50_000, 40_000)
    )
    assert message == "the image has 50000 x 40000 pixels; at most 64000000 are decoded"


@each_as_subtest("kind", FORMATS)
def test_the_largest_image_decoded_has_max_pixels(kind):
    data = encoded(noise(1, size=20), kind, **({"sizes": [(20, 20)]} if kind == "ICO" else {}))
    assert image_input(max_pixels=400).decode(data).shape == (3, 20, 20)
    assert "20 x 20 pixels" in error_message(Undecodable, image_input(max_pixels=399).decode, data)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1)])
def test_a_thread_of_an_image_is_not_blown_up(size):
    data = encoded(Image.new("L", size))
    assert image_input().decode(data).shape == (3, size[1], size[0])
    assert error_message(Undecodable, image_input(image_size=224).decode, data) == (
        f"the image, {size[0]} x {size[1]}, is too long and narrow"
    )


def mutated(data, random):
    """A copy with some bytes changed, and often cut short, or with a part doubled or lost."""
    values = np.frombuffer(data, dtype=np.uint8).copy()
    # headers are where the damage shows
    reach = len(values) if random.random() < 0.5 else min(64, len(values))
    places = random.integers(0, reach, random.integers(0, 9))
    values[places] = random.integers(0, 256, len(places))
    first, second = sorted(random.integers(0, len(values) + 1, 2))
    match random.integers(0, 5):
        case 0:
            values = values[:second]
        case 1:
            values = np.delete(values, np.s_[first : min(second, first + 9)])
        case 2:
            values = np.concatenate([values[:second], values[first:]])
    return values.tobytes()


@pytest.mark.filterwarnings("ignore")  # Pillow's about odd files, as in the worker
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutated_file_is_an_image_or_undecodable(kind):
    random = np.random.default_rng(7)
    good = [
        encoded(noise(seed, mode=mode), kind, **options)
        for seed, mode in enumerate(["RGB", "L"])
        for options in ([{}, {"compression": "tiff_lzw"}] if kind == "TIFF" else [{}])
    ]
    inputs = [image_input(max_pixels=10_000), image_input(max_pixels=10_000, image_size=8)]
    decoded, refusals = 0, []
    for number in range(400):
        data = mutated(good[number % len(good)], random)
        try:
            channels = inputs[number % 2].decode(data).shape[0]
        except Undecodable as error:
            refusals.append(str(error))
        else:
            assert channels == 3
            decoded += 1
    assert all(refusals)
    # the mutations are neither all fatal nor all harmless
    assert min(decoded, len(refusals)) > 10


def test_a_refusal_does_not_spoil_the_next_image():
    inputs = image_input()
    with pytest.raises(Undecodable):
        inputs.decode(b"junk")
    assert inputs.decode(valid_file("PNG")).shape == (3, 16, 16)
