"""Small images of stored ones. Imports Pillow, which the client does not depend on."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageOps

FORMATS: Final[tuple[str, ...]] = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "ICO",
    "JPEG2000",
    "AVIF",
    "HEIF",
)
"""Those that the server takes. Pillow has others, some of which start programs (PostScript)."""
MAX_PIXELS: Final = 50_000_000
"""Of an image that is drawn; of a JPEG, after it has been reduced."""
PAPER: Final = "#ffffff"
PIXELATED: Final = 3
"""An image that is enlarged by this factor or more shows its pixels; others are smoothed."""
SIZES: Final = (176, 128, 96, 64, 44)
QUALITIES: Final = (82, 60)


def fitted(data: bytes, space: int) -> Image.Image | None:
    """An image in RGB, upright, that fits into a square of pixels; None if it cannot be read."""
    image = _opened(data, space)
    if image is None:
        return None
    scale = min(space / image.width, space / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    sharp = scale >= PIXELATED
    return image.resize(size, Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)


def data_uri(data: bytes, max_bytes: int) -> tuple[str, bool] | None:
    """A thumbnail as a `data:` URI of at most so many bytes, and whether to show its pixels.

    None if the image cannot be read, or not in so few bytes.
    """
    image = _opened(data, SIZES[0])
    if image is None:
        return None
    pixelated = max(image.size) * PIXELATED <= SIZES[0]
    for kind, content in _encoded(image, pixelated=pixelated):
        uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
        if len(uri) <= max_bytes:
            return uri, pixelated
    return None


def _encoded(image: Image.Image, *, pixelated: bool) -> Iterator[tuple[str, bytes]]:
    """Smaller and smaller files."""
    if pixelated:
        file = BytesIO()
        image.save(file, "PNG", optimize=True)
        yield "png", file.getvalue()
    for size in SIZES:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)  # in place
        for quality in QUALITIES:
            file = BytesIO()
            image.save(file, "JPEG", quality=quality, optimize=True)
            yield "jpeg", file.getvalue()


def _opened(data: bytes, space: int) -> Image.Image | None:
    """An image in RGB, a JPEG not much larger than a square that it is to fit into."""
    try:
        Image.init()
        formats = [each for each in FORMATS if each in Image.OPEN]
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=formats) as opened:
                opened.draft("RGB", (2 * space, 2 * space))
                if opened.width * opened.height > MAX_PIXELS:
                    return None
                image = ImageOps.exif_transpose(opened)
                image.load()
        return _in_color(image)
    except Exception:  # whatever Pillow raises for odd files
        return None


def _in_color(image: Image.Image) -> Image.Image:
    """An image in RGB; transparent parts become white, deep samples are scaled."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        scaled = (values - low) * (255 / (high - low or 1))
        return Image.fromarray(np.nan_to_num(scaled).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, PAPER)
        return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
