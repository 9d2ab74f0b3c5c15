"""What Pillow 13 lacks or mistakes in TIFF files."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, TiffImagePlugin

BIG_ENDIAN: Final = ("F;32BF", "F;64BF", "I;32BS", "I;16BS")
"""Raw modes that Pillow does not adjust for libtiff."""

SAMPLE_FORMATS: Final = {1: "unsigned", 2: "signed", 3: "floating-point"}


def learn_pixel_formats() -> None:
    """Add what Pillow unpacks, but does not find by the tags of a TIFF: 64-bit floats, and wide
    samples of which the smallest is white, or with the most significant byte first.
    """
    for order, big in ((b"II", ""), (b"MM", "B")):
        for photometric in (0, 1):
            for sample_format, bits, mode, raw_mode in (
                (1, 16, f"I;16{big}", f"I;16{big}"),
                (1, 32, "I", f"I;32{big}S"),
                (2, 16, "I", f"I;16{big}S"),
                (2, 32, "I", f"I;32{big}S"),
                (3, 64, "F", f"F;64{big}F"),
            ):
                key = (order, photometric, (sample_format,), 1, (bits,), ())
                TiffImagePlugin.OPEN_INFO.setdefault(key, (mode, raw_mode))


def adjust_byte_order(image: Image.Image) -> None:
    """What libtiff returns is in the machine's byte order; Pillow 13 takes some samples to be in
    the file's.
    """
    tiles = image.tile  # type: ignore[attr-defined]
    for number, tile in enumerate(tiles):
        if tile.codec_name == "libtiff" and tile.args[0] in BIG_ENDIAN:
            native = tile.args[0].replace("B", "N")
            tiles[number] = tile._replace(args=(native, *tile.args[1:]))


def described_pixels(data: bytes) -> str:
    """The pixel format by the tags of the file. Raises whatever Pillow raises on bad bytes."""
    big = data[2:3] == b"+" or data[3:4] == b"+"
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    formats = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    samples = int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
    return (
        f"{samples} {'sample' if samples == 1 else 'samples'} per pixel of {bits[0]} bits, "
        f"{SAMPLE_FORMATS.get(formats[0], f'sample format {formats[0]}')}, photometric "
        f"interpretation {tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 'missing')}, "
        f"compression {tags.get(TiffImagePlugin.COMPRESSION, 1)}"
    )
