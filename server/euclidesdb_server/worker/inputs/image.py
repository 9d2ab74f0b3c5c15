"""Images: encoded bytes become (channels, height, width) uint8, and float32 for the program.

By default a program gets RGB in [0, 1] at the image's original size, as in EuclidesDB; model.conf
can change that. Every image that Pillow reads in the formats below works: gray, palette, alpha
(composited over white), CMYK, 16 bits, EXIF orientation. Bytes that are not an image, are
truncated, or are too large to decode are Undecodable.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from euclidesdb_server.worker.inputs.protocol import Undecodable, groups_of_one_shape

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's other formats (PostScript, PDF, fonts, ...) are refused."""

SAMPLE_SIZES: Final = (224, 299, 384, 96, 64, 32, 28)
"""Tried in turn for a model that takes images at their original size."""

WIDE_MODES: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class ImageInput:
    """The input kind `image`, with the settings of one model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._mode: str = settings["image_mode"]
        self._crop: int = settings["image_size"]
        self._resize: int = settings["resize"] or settings["image_size"]
        self._stretch = settings["resize_mode"] == "exact"
        self._resampling = Image.Resampling[settings["interpolation"].upper()]
        self._max_pixels: int = settings["max_image_pixels"]
        keys = ("input", "image_mode", "image_size", "resize", "resize_mode", "interpolation")
        self.decoding = json.dumps([settings[key] for key in keys]).encode()
        # (x / 255 - mean) / std, as one product and one sum
        mean = torch.tensor(settings["mean"] or [0.0] * len(self._mode)).view(-1, 1, 1)
        std = torch.tensor(settings["std"] or [1.0] * len(self._mode)).view(-1, 1, 1)
        self._normalizes = bool(settings["mean"] or settings["std"])
        self._scale, self._shift = 1 / (255 * std), -mean / std
        Image.MAX_IMAGE_PIXELS = None  # we check the size ourselves, as Pillow may only warn

    def decode(self, data: bytes) -> torch.Tensor:
        """uint8, shape (channels, height, width)."""
        try:
            image = self._open(data)
        except Undecodable:
            raise
        except UnidentifiedImageError as error:
            raise Undecodable(
                f"the bytes are not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
            ) from error
        except Exception as error:  # Pillow raises anything, down to struct.error, on bad bytes
            raise Undecodable(f"the image cannot be decoded: {error}") from error
        pixels = torch.from_numpy(np.array(image))
        return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)

    groups = staticmethod(groups_of_one_shape)

    def collate(self, items: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        """One argument: float32, shape (n, channels, height, width)."""
        # uint8 is moved to the device, a quarter of the size of float32
        batch = torch.stack([*items]).to(device)
        pixels = batch.to(torch.float32, memory_format=torch.contiguous_format)
        if not self._normalizes:
            return [pixels.div_(255)]
        return [pixels.mul_(self._scale.to(device)).add_(self._shift.to(device))]

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """Noise: it has every value, and its images differ."""
        generator = torch.Generator().manual_seed(0)
        channels = len(self._mode)
        for size in [self._crop] if self._crop else SAMPLE_SIZES:
            shape = (channels, size, size)
            yield [
                torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
                for _ in range(2)
            ]

    def _open(self, data: bytes) -> Image.Image:
        if not data:
            raise Undecodable("the image is empty")
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > self._max_pixels:
            raise Undecodable(
                f"the image has {width} x {height} pixels; at most {self._max_pixels} are decoded"
            )
        image.load()
        return self._sized(_converted(_upright(image), self._mode))

    def _sized(self, image: Image.Image) -> Image.Image:
        if self._stretch:
            return image.resize((self._crop, self._crop), self._resampling)
        if self._resize:
            width, height = image.size
            scale = self._resize / min(width, height)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            if width * height * scale * scale > self._max_pixels:
                raise Undecodable(f"the image, {width} x {height}, is too long and narrow")
            if size != image.size:
                image = image.resize(size, self._resampling)
        if self._crop:
            left = (image.width - self._crop) // 2
            top = (image.height - self._crop) // 2
            image = image.crop((left, top, left + self._crop, top + self._crop))
        return image


def _upright(image: Image.Image) -> Image.Image:
    """Rotated as its EXIF requires; unrotated if the EXIF is damaged, as viewers show it."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises anything, down to SyntaxError, on odd EXIF
        return image


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Any image as 8-bit RGB or L."""
    if image.mode in WIDE_MODES:
        # 16 bits per sample, under several names; Pillow's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(values, 0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=255.0, neginf=0.0)
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)
