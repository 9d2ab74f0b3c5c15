"""What the image tests share: an ImageInput as a model.conf would make it, and odd files."""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict
from typing import Any, Literal

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
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def chunk(kind: bytes, data: bytes, *, damaged: bool = False) -> bytes:
    """A chunk of a PNG; damaged: its checksum is wrong."""
    crc = zlib.crc32(kind + data) ^ damaged
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(*chunks: bytes, samples: np.ndarray, before: bytes = b"") -> bytes:
    """A PNG of uint8 or uint16 samples, gray or RGB.

    before: chunks in front of the pixels; chunks: behind them.
    """
    height, width, *channels = samples.shape
    bits, color = 8 * samples.itemsize, 2 if channels else 0
    rows = samples.astype(samples.dtype.newbyteorder(">"))
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = (chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(raw)), *chunks)
    return PNG_SIGNATURE + b"".join(parts) + chunk(b"IEND", b"")


def tiff(
    samples: np.ndarray, *, photometric: int = 1, order: Literal["<", ">"] = "<",
    deflate: bool = False, bits: int = 0, sample_format: int = 0,
) -> bytes:  # fmt: skip
    """A TIFF of samples of any type, in one strip: (height, width), or with channels behind.

    photometric: 0: the smallest sample is white. order: of the bytes. bits, sample_format: what the
    tags declare, if not the type of the samples.
    """
    height, width, *more = samples.shape
    channels = more[0] if more else 1
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    if deflate:
        data = zlib.compress(data)
    kind = sample_format or {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [bits or 8 * samples.itemsize] * channels,
        259: [8 if deflate else 1], 262: [photometric], 273: [0], 277: [channels], 278: [height],
        279: [len(data)], 339: [kind] * channels,
    }  # fmt: skip
    long = 8 + 2 + 12 * len(tags) + 4  # values that do not fit into their entry, then the pixels
    tags[273] = [long + sum(4 * len(values) for values in tags.values() if len(values) > 1)]
    entries, values_behind = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            values_behind += packed
            packed = struct.pack(f"{order}I", long + len(values_behind) - len(packed))
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + values_behind + data


QUARTERS = np.kron(np.array([[200, 50], [120, 10]], np.uint8), np.ones((4, 4), np.uint8))
"""An 8 x 8 gray image in four quarters."""


def quarters(data: bytes, **conf: Any) -> list[int]:
    """The gray of each quarter, as the model gets it."""
    got = pixels(data, **conf)[:, :, 0]
    assert got.shape[0] > 1, "it has quarters"
    return [int(got[y, x]) for y in (0, -1) for x in (0, -1)]
