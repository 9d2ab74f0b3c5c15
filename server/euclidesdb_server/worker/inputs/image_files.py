"""Image files: which format some bytes have, and a Pillow image from them.

The format is found by its signature, so that an error can say what a damaged file is. Limits on the
size hold before anything is decoded, also for sizes that a file states twice.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from euclidesdb_server.worker.inputs.image_side_data import PNG_SIGNATURE, ended_jpeg
from euclidesdb_server.worker.inputs.image_tiff import (
    adjust_byte_order,
    described_pixels,
    learn_pixel_formats,
)
from euclidesdb_server.worker.inputs.protocol import Undecodable

FORMATS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|MM\*\0|II\0\*|MM\0\+|II\+\0"),
    "AVIF": re.compile(rb"....ftyp(avif|avis|mif1.{4,40}?avif)", re.DOTALL),
    "HEIF": re.compile(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL),
    "JPEG2000": re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
    "PPM": re.compile(rb"P[1-6f]\s"),
    "ICO": re.compile(rb"\x00\x00\x01\x00"),
}
"""The signature of each, by Pillow's name. Pillow's other formats (PostScript, PDF, fonts, ...)
are refused."""

OTHERS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "a JPEG XL image": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "a Photoshop document": re.compile(rb"8BPS"),
    "an SVG image": re.compile(rb"\s*(<\?xml.*?)?<svg", re.DOTALL),
    "an HTML page": re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
    "a PDF document": re.compile(rb"%PDF-"),
    "a PostScript document": re.compile(rb"%!PS"),
    "an MP4 video": re.compile(rb"....ftyp", re.DOTALL),
    "a Git LFS pointer": re.compile(rb"version https://git-lfs"),
}
"""Files that are often sent instead of an image."""

SIGNATURE_BYTES: Final = 512

READS_HEIC: Final = find_spec("pillow_heif") is not None
if READS_HEIC:
    import_module("pillow_heif").register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )

KNOWN: Final = (
    f"a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, {'HEIC, ' if READS_HEIC else ''}JPEG 2000, PPM or "
    "ICO image"
)

learn_pixel_formats()


def format_of(data: bytes) -> str:
    """A key of FORMATS. Raises Undecodable, which says what the bytes are instead."""
    if not data:
        raise Undecodable("the image is empty")
    head = bytes(data[:SIGNATURE_BYTES])
    for kind, signature in FORMATS.items():
        if signature.match(head):
            if kind == "HEIF" and not READS_HEIC:
                raise Undecodable(
                    "the bytes are a HEIC image, which the server reads with the package "
                    "pillow-heif: pip install 'euclidesdb[heic]'"
                )
            return kind
    for name, signature in OTHERS.items():
        if signature.match(head):
            raise Undecodable(f"the bytes are {name}, not {KNOWN}")
    raise Undecodable(f"the bytes are not {KNOWN}")


def open_image(data: bytes, kind: str, max_pixels: int) -> Image.Image:
    """The image, not decoded yet.

    kind: the format. Raises Undecodable if it is too large or cannot be read, and whatever Pillow
    raises on bad bytes.
    """
    if kind == "ICO":
        data = _largest_icon(data, max_pixels)
        kind = "PNG" if data.startswith(PNG_SIGNATURE) else kind
    if kind == "JPEG2000":
        for size in re.finditer(rb"\xff\x4f\xff\x51.{4}(.{16})", data, re.DOTALL):
            right, bottom, left, top = struct.unpack(">4I", size[1])
            _check_size(right - left, bottom - top, max_pixels)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=[kind])
    except UnidentifiedImageError as error:
        if kind == "TIFF":
            raise Undecodable(
                f"the image is a TIFF whose pixel format cannot be read: {described_pixels(data)}"
            ) from error
        factory, _ = Image.OPEN[kind]
        factory(io.BytesIO(data), "")  # raises the reason, which Image.open hides
        raise
    _check_size(*image.size, max_pixels)
    if kind == "PNG":
        _adjust_transparency(image, data)
    if kind == "TIFF":
        adjust_byte_order(image)
    return image


def load_image(
    reopen: Callable[[bytes, str], Image.Image],
    image: Image.Image,
    data: bytes,
    kind: str,
    *,
    truncated: bool,
) -> Image.Image:
    """The image, decoded.

    reopen: opens the file anew. truncated: a file that ends early gives the rows that it has.
    Raises whatever Pillow raises on bad bytes.
    """
    size = image.size
    try:
        image.load()
        if kind == "HEIF" and image.size != size:  # its size is known only with its pixels
            raise OSError(f"the header declares {size}, the pixels are {image.size}")
    except OSError:
        if not truncated:
            raise
        if kind == "JPEG":
            # libjpeg returns what it has of a progressive image once that has an end
            image = reopen(ended_jpeg(data), kind)
            image.load()
        image.tile = []  # type: ignore[attr-defined]  # what was decoded stays
        if image.im is None or not _has_shades(image):
            raise
    return image


def _has_shades(image: Image.Image) -> bool:
    return any(band.min() != band.max() for band in np.atleast_3d(np.asarray(image)).T)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Undecodable(
            f"the image has {width} x {height} pixels; at most {max_pixels} are decoded"
        )


def _largest_icon(data: bytes, max_pixels: int) -> bytes:
    """The best image of an icon: a PNG file, or an icon with this image alone.

    Pillow would decode it in `open`, before its size is known: the directory may name another.
    """
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [struct.unpack_from("<4B2H2I", data, 6 + 16 * number) for number in range(count)]
    if not entries:
        raise Undecodable("the ICO image has no image")
    # a width of 0 means 256
    best = max(entries, key=lambda entry: ((entry[0] or 256) * (entry[1] or 256), entry[5]))
    *fields, length, offset = best
    image = data[offset : offset + length]
    if image.startswith(PNG_SIGNATURE):
        return image
    _, width, height = struct.unpack_from("<Iii", image)
    _check_size(abs(width), abs(height) // 2, max_pixels)
    return struct.pack("<3H", 0, 1, 1) + struct.pack("<4B2H2I", *fields, length, 22) + image


def _adjust_transparency(image: Image.Image, data: bytes) -> None:
    """The color that tRNS names, from the samples of the file to those of Pillow's image."""
    color = image.info.get("transparency")
    bits = data[24]  # of IHDR, the first chunk
    if image.mode == "L" and isinstance(color, int) and bits < 8:
        image.info["transparency"] = color * 255 // (2**bits - 1) if color < 2**bits else None
    if image.mode == "RGB" and isinstance(color, tuple) and bits == 16:
        image.info["transparency"] = tuple(sample >> 8 for sample in color)
    if image.info.get("transparency", 0) is None:
        del image.info["transparency"]
