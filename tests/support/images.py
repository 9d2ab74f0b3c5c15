"""Images as clients send them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def noise(seed: int, size: int = 16, mode: str = "RGB") -> Image.Image:
    """An image of random pixels, the same for the same seed."""
    channels = Image.getmodebands(mode)
    values = np.random.default_rng(seed).integers(0, 256, (size, size, channels), dtype=np.uint8)
    return Image.fromarray(values if channels > 1 else values[:, :, 0])


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image as a file of that kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
