"""Images arrive as bytes that decode to the pixels the caller had."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.cases import each_as_subtest


def sent(server):
    return server.requests["AddItem"][0].payload.image


def sample_image(mode):
    """33 x 17 pixels that no lossy format keeps."""
    random = np.random.default_rng(7)
    if mode == "F":
        data = random.standard_normal(33 * 17).astype(np.float32).tobytes()
    else:
        data = random.bytes(len(Image.new(mode, (33, 17)).tobytes()))
    image = Image.frombytes(mode, (33, 17), data)
    if mode in {"P", "PA"}:
        image.putpalette(random.bytes(768))
    return image


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"],
)
def test_a_pillow_image_arrives_with_its_pixels(db, server, mode):
    image = sample_image(mode)
    db.add("a", image=image, models=["m"])
    arrived = Image.open(io.BytesIO(sent(server)))
    assert arrived.mode == mode
    assert arrived.size == image.size
    assert arrived.tobytes() == image.tobytes()
    if mode == "P":
        assert arrived.getpalette() == image.getpalette()


@pytest.mark.parametrize(
    ("mode", "nearest"), [("HSV", "RGB"), ("RGBX", "RGB"), ("RGBa", "RGBA"), ("La", "LA")]
)
def test_a_mode_that_no_format_holds_arrives_as_the_nearest(db, server, mode, nearest):
    image = sample_image(mode)
    db.add("a", image=image, models=["m"])
    arrived = Image.open(io.BytesIO(sent(server)))
    assert arrived.mode == nearest
    assert arrived.tobytes() == image.convert(nearest).tobytes()


def test_an_image_from_a_lossy_tiff_is_not_compressed_again(db, server):
    file = io.BytesIO()
    sample_image("CMYK").save(file, "TIFF", compression="jpeg")
    image = Image.open(io.BytesIO(file.getvalue()))
    db.add("a", image=image, models=["m"])
    assert Image.open(io.BytesIO(sent(server))).tobytes() == image.tobytes()


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "Path"])
def test_a_file_arrives_byte_for_byte(db, server, tmp_path, as_path):
    path = tmp_path / "image.jpg"
    sample_image("RGB").save(path)
    db.add("a", image=as_path(path), models=["m"])
    assert sent(server) == path.read_bytes()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_arrive_as_they_are(db, server, kind):
    db.add("a", image=kind(b"\x00no image\xff"), models=["m"])
    assert sent(server) == b"\x00no image\xff"


def test_empty_bytes_are_left_to_the_server(db, server):
    db.add("a", image=b"", models=["m"])
    assert server.requests["AddItem"][0].payload.HasField("image")


def test_a_file_that_is_not_there_is_named(db, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        db.add("a", image=tmp_path / "nowhere.png", models=["m"])


def random_pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(5).integers(0, 2 if dtype is bool else 256, shape).astype(dtype)


@each_as_subtest(
    ("pixels", "mode"),
    [
        (random_pixels(5, 7), "L"),
        (random_pixels(5, 7, 1), "L"),
        (random_pixels(5, 7, 2), "LA"),
        (random_pixels(5, 7, 3), "RGB"),
        (random_pixels(5, 7, 4), "RGBA"),
        (random_pixels(5, 7, dtype=bool), "1"),
        (random_pixels(5, 7, dtype=np.uint16), "I;16"),
        (random_pixels(5, 7, dtype=">u2"), "I;16"),
        (random_pixels(7, 5, 3).transpose(1, 0, 2)[::-1], "RGB"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.shape} {value.dtype}",
)
def test_an_array_arrives_with_its_pixels(db, server, pixels, mode):
    server.requests.clear()
    db.add("a", image=pixels, models=["m"])
    arrived = Image.open(io.BytesIO(sent(server)))
    assert arrived.mode == mode
    assert np.array_equal(np.asarray(arrived), pixels.reshape(np.asarray(arrived).shape))


@each_as_subtest("dtype", [np.float16, np.float32, np.float64, torch.float32])
def test_floats_from_0_to_1_are_scaled(db, server, dtype):
    server.requests.clear()
    levels = [[-1e-7, 0.2], [0.5, 1 + 1e-7]]
    made = torch.tensor(levels) if dtype is torch.float32 else np.array(levels, dtype)
    db.add("a", image=made, models=["m"])
    arrived = np.asarray(Image.open(io.BytesIO(sent(server))))
    assert arrived.tolist() == [[0, 51], [128, 255]]


@each_as_subtest("shape", [(5, 7), (1, 5, 7), (3, 5, 7), (4, 5, 7)])
def test_a_tensor_has_its_channels_first(db, server, shape):
    server.requests.clear()
    pixels = random_pixels(*shape)
    db.add("a", image=torch.from_numpy(pixels), models=["m"])
    arrived = np.asarray(Image.open(io.BytesIO(sent(server))))
    expected = pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0)
    assert np.array_equal(arrived, expected.reshape(arrived.shape))


@each_as_subtest(
    ("array", "kind", "says"),
    [
        (np.zeros((8, 8), np.int32), TypeError, "not int32"),
        (np.zeros((8, 8), object), TypeError, "not object"),
        (random_pixels(8, 8) / 2, ValueError, r"0 \(black\) to 1 \(white\), not 0.0 to 127.5"),
        (-torch.ones(3, 8, 8), ValueError, "not -1.0 to -1.0"),
        (np.full((8, 8), np.nan), ValueError, "not nan to nan"),
        (np.ma.masked_less(random_pixels(8, 8), 128), ValueError, "masked"),
        (random_pixels(3, 8, 8), ValueError, r"\(height, width, channels\).*not \(3, 8, 8\)"),
        (random_pixels(8, 8, 3, dtype=np.uint16), ValueError, "uint16"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), ValueError, r"\(channels, height, width\)"),
        (random_pixels(8), ValueError, r"not \(8,\)"),
        (random_pixels(0, 8), ValueError, "must have pixels"),
    ],
)
def test_an_array_that_is_not_an_image_is_refused(db, array, kind, says):
    with pytest.raises(kind, match=says):
        db.add("a", image=array, models=["m"])


def test_an_array_needs_pillow_and_says_so(db, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match="needs Pillow"):
        db.add("a", image=random_pixels(8, 8), models=["m"])


def test_an_open_file_is_read_from_its_start(db, server, tmp_path):
    (tmp_path / "image.jpg").write_bytes(b"from a file")
    written = io.BytesIO()
    written.write(b"from memory")
    with (tmp_path / "image.jpg").open("rb") as file:
        db.add("a", image=file, models=["m"])
    db.add("b", image=written, models=["m"])
    images = [request.payload.image for request in server.requests["AddItem"]]
    assert images == [b"from a file", b"from memory"]


def test_a_file_opened_as_text_is_refused(db):
    with pytest.raises(TypeError, match=r"binary mode: read\(\) of StringIO returned str"):
        db.add("a", image=io.StringIO("text"), models=["m"])


@each_as_subtest(
    "image",
    [io.BytesIO(b"one"), random_pixels(8, 8), random_pixels(8, 8, 3), torch.zeros(3, 8, 8)],
    ids=lambda value: type(value).__name__,
)
def test_one_image_is_not_an_iterable_of_images(db, image):
    with pytest.raises(TypeError, match=r"images must be an iterable, such as \[image\]"):
        db.find_similar_many(images=image, model="m")


def test_an_array_of_images_is_an_iterable_of_images(db, server):
    db.find_similar_many(images=random_pixels(2, 8, 8, 3), model="m")
    assert len(server.requests["FindSimilarBatch"][0].queries) == 2


def test_an_array_of_paths_is_an_iterable_of_images(db, server, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(path.name.encode())
    for array in (np.array(paths, object), np.array([*map(str, paths)])):
        db.find_similar_many(images=array, model="m")
    for request in server.requests["FindSimilarBatch"]:
        assert [query.payload.image for query in request.queries] == [b"a.png", b"b.png"]


def test_an_empty_path_is_refused(db):
    with pytest.raises(ValueError, match="path must not be empty"):
        db.add("a", image="", models=["m"])


@each_as_subtest(
    "url",
    [
        "https://example.org/shoe.png",
        Path("https://example.org/shoe.png"),
        "s3://bucket/shoe.png",
        "file:///shoe.png",
        "data:image/png;base64," + "iVBORw0KGgo" * 100,
    ],
    ids=lambda url: str(url)[:20],
)
def test_a_url_is_called_one(db, url):
    with pytest.raises(ValueError, match="is a URL; download it") as caught:
        db.add("a", image=url, models=["m"])
    assert str(url)[:20] in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_whose_name_looks_like_a_url_is_read(db, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shoes:").mkdir()
    (tmp_path / "shoes:" / "a.png").write_bytes(b"an image")
    db.add("a", image="shoes:/a.png", models=["m"])
    assert sent(server) == b"an image"
