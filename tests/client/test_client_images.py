"""Images arrive as bytes that decode to the pixels the caller had."""

import io

import numpy as np
import pytest
from PIL import Image


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


def test_an_array_is_not_an_image(db):
    with pytest.raises(TypeError, match="not ndarray"):
        db.add("a", image=np.zeros((8, 8, 3), np.uint8), models=["m"])
