"""What the image tests share: an ImageInput as a model.conf would make it, and odd files."""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from euclidesdb_server.inference.input_kinds import ImageConf
from euclidesdb_server.worker.inputs.image import ImageInput
from tests.support.images import encoded, noise

LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def image_input(*, max_pixels: int = 1_000_000, **conf: Any) -> ImageInput:
    """The kind of input `image`, with the defaults of model.conf but for what is given."""
    full = ImageConf(name="any", filename="any.pt", feature_dim=1, **conf)
    return ImageInput({**asdict(full), "max_image_pixels": max_pixels})


def pixels(data: bytes, **conf: Any) -> np.ndarray:
    """The file as the model gets it: uint8 (height, width, channels)."""
    return image_input(**conf).decode(data).permute(1, 2, 0).numpy()


def valid_file(kind: str) -> bytes:
    """A good image of that format, 16 x 16."""
    return encoded(noise(1), kind)


def png_of_nothing(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds not one pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
