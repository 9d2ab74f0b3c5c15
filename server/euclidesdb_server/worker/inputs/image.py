"""Images: encoded bytes become (channels, height, width) uint8, and float32 for the program.

By default a program gets RGB in [0, 1] at the image's original size, as in EuclidesDB; model.conf
can change that. Every image that Pillow reads in the formats of `image_files` works: gray, palette,
alpha (composited over white), CMYK, 16 bits and more, EXIF orientation. Bytes that are not an
image, are truncated, or are too large to decode are Undecodable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from euclidesdb_server.worker.inputs.image_files import (
    format_of,
    load_image,
    open_image,
)
from euclidesdb_server.worker.inputs.image_samples import eight_bit
from euclidesdb_server.worker.inputs.image_side_data import without_side_data
from euclidesdb_server.worker.inputs.pixel_budget import PixelBudget
from euclidesdb_server.worker.inputs.protocol import Undecodable, groups_of_one_shape

SAMPLE_SIZES: Final = (224, 299, 384, 96, 64, 32, 28)
"""Tried in turn for a model that takes images at their original size."""

ORIENTATION: Final = 0x0112
ROTATIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation in EXIF. Not by ImageOps.exif_transpose, which copies every image."""


class ImageInput:
    """The input kind `image`, with the settings of one model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._mode: str = settings["image_mode"]
        self._crop: int = settings["image_size"]
        self._resize: int = settings["resize"] or settings["image_size"]
        self._stretch = settings["resize_mode"] == "exact"
        self._resampling = Image.Resampling[settings["interpolation"].upper()]
        self._truncated: bool = settings["allow_truncated"]
        self._max_pixels: int = settings["max_image_pixels"]
        self._budget = PixelBudget(self._max_pixels)
        keys = ("input", "image_mode", "image_size", "resize", "resize_mode", "interpolation",
                "allow_truncated")  # fmt: skip
        self.decoding = json.dumps([settings[key] for key in keys]).encode()
        # (x / 255 - mean) / std, as one product and one sum
        mean = torch.tensor(settings["mean"] or [0.0] * len(self._mode)).view(-1, 1, 1)
        std = torch.tensor(settings["std"] or [1.0] * len(self._mode)).view(-1, 1, 1)
        self._normalizes = bool(settings["mean"] or settings["std"])
        self._scale, self._shift = 1 / (255 * std), -mean / std
        Image.MAX_IMAGE_PIXELS = None  # we check the size ourselves, as Pillow may only warn

    def decode(self, data: bytes) -> torch.Tensor:
        """uint8, shape (channels, height, width)."""
        kind = format_of(data)
        try:
            return self._decode(data, kind)
        except Undecodable:
            raise
        except Exception as error:  # Pillow raises anything, down to struct.error, on bad bytes
            failure = error
        bare = without_side_data(data, kind)
        if bare is not None:
            try:
                return self._decode(bare, kind)
            except Undecodable:
                raise
            except Exception as error:  # as above
                failure = error
        raise Undecodable(f"the {kind} image cannot be decoded: {failure}") from failure

    groups = staticmethod(groups_of_one_shape)

    def collate(self, items: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        """One argument: float32, shape (n, channels, height, width)."""
        batch = torch.stack([*items]) if len(items) > 1 else items[0].unsqueeze(0)
        if device.type != "cpu":
            batch = batch.to(device)  # as uint8, a quarter of the size of float32
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

    def _decode(self, data: bytes, kind: str) -> torch.Tensor:
        image = self._open(data, kind)
        with self._budget.take(image.width * image.height):
            image = load_image(self._open, image, data, kind, truncated=self._truncated)
            image = eight_bit(_upright(image), kind)
            if image.mode not in (self._mode, "L"):
                image = image.convert(self._mode)
            image = self._sized(image)
            if image.mode != self._mode:  # a conversion to the same mode would copy the image
                image = image.convert(self._mode)  # gray to RGB when it is small: the same result
            pixels = torch.from_numpy(np.array(image))
        return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)

    def _open(self, data: bytes, kind: str) -> Image.Image:
        return open_image(data, kind, self._max_pixels)

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
        method = ROTATIONS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises anything, down to SyntaxError, on odd EXIF
        return image
    return image if method is None else image.transpose(method)
