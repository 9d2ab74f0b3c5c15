"""Images: how an image becomes the pixels that a program takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge

from euclidesdb_server.config.ini import CommaSeparated
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_conf import ProgramConf

Channels: TypeAlias = Annotated[tuple[float, ...], CommaSeparated]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConf(ProgramConf):
    """Section [model] of a model that takes images."""

    input: Literal["image"] = "image"
    image_mode: Literal["RGB", "L"] = "RGB"
    image_size: Annotated[int, Ge(0)] = 0
    """Pixels: resize the shorter side, crop this square from the center; 0: the original size."""
    resize: Annotated[int, Ge(0)] = 0
    """Pixels that the shorter side is resized to before the crop; 0: image_size."""
    resize_mode: Literal["shortest_edge", "exact"] = "shortest_edge"
    """`exact`: both sides become image_size, whatever the aspect ratio."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: Channels = ()
    """Subtracted from each channel of the pixels in [0, 1]; empty: 0."""
    std: Channels = ()
    """What each channel is then divided by; empty: 1."""
    allow_truncated: bool = False
    """Whether a file that ends early is embedded with the rows that it has. It changes no vector of
    a complete file, so it is not part of the version."""

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`."""
        added_later = {
            "resize_mode": self.resize_mode,
            "interpolation": self.interpolation,
            "mean": [*self.mean],
            "std": [*self.std],
        }
        defaults = {
            "resize_mode": "shortest_edge",
            "interpolation": "bilinear",
            "mean": [],
            "std": [],
        }
        return {
            "input": self.input,
            "image_mode": self.image_mode,
            "image_size": self.image_size,
            "resize": self.resize,
            **{key: value for key, value in added_later.items() if value != defaults[key]},
            **ProgramConf.preprocessing(self),
        }

    def check(self) -> None:
        """As `ProgramConf.check`."""
        ProgramConf.check(self)
        if self.resize and self.image_size > self.resize:
            raise ModelLoadError(
                f"image_size = {self.image_size} cannot be cut from resize = {self.resize}"
            )
        if self.resize_mode == "exact" and not (self.image_size and not self.resize):
            raise ModelLoadError("resize_mode = exact needs image_size, and no resize")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != len(self.image_mode):
                raise ModelLoadError(
                    f"{key}: {len(values)} values for the {len(self.image_mode)} channels of "
                    f"image_mode = {self.image_mode}"
                )
            if not all(math.isfinite(value) for value in values):
                raise ModelLoadError(f"{key} = {values}: should be finite")
        if 0 in self.std:
            raise ModelLoadError("std: a channel cannot be divided by 0")
