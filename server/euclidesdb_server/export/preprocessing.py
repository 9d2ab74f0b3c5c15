"""A model's image preprocessing, as its library defines it and as keys of model.conf.

Only preprocessing that a worker supports is accepted; the export's check compares the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from euclidesdb_server.export.subject import ExportError

INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic", "lanczos")
MIN_STRETCHED_SIZE: Final = 384
"""ConvNeXT's processor crops images for smaller sizes, and stretches them from this size on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How images become `size` x `size` pixels.

    resize: the length of the shorter side before the center is cropped; None: both sides are
    stretched to `size`. mean, std: per channel; empty if pixels stay in [0, 1].
    """

    size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: int = 3

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise ExportError(
                f"its interpolation is {self.interpolation!r}; "
                f"a worker supports {', '.join(INTERPOLATIONS)}"
            )
        if self.channels not in (1, 3):
            raise ExportError(f"it takes {self.channels} channels; a worker supports 1 and 3")

    def conf(self) -> dict[str, str]:
        """The preprocessing as keys of model.conf."""
        keys = {
            "input": "image",
            "image_mode": "RGB" if self.channels == 3 else "L",
            "image_size": str(self.size),
        }
        if self.resize is None:
            keys["resize_mode"] = "exact"
        else:
            keys["resize"] = str(self.resize)
        keys["interpolation"] = self.interpolation
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values:
                keys[key] = ", ".join(repr(float(value)) for value in values)
        return keys


def of_processor(processor: Any, *, channels: int) -> Preprocessing:
    """The preprocessing of an image processor of transformers. Raises ExportError."""
    if not processor.do_resize:
        raise ExportError("its image processor does not resize: images would differ in size")
    if processor.do_rescale and not math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-6):
        raise ExportError(f"its pixels are scaled by {processor.rescale_factor:g} instead of 1/255")
    size, resize = _processor_size(processor)
    normal = processor.do_normalize
    return Preprocessing(
        size=size,
        resize=resize,
        interpolation=Image.Resampling(int(processor.resample)).name.lower(),
        mean=_per_channel(processor.image_mean, channels) if normal else (),
        std=_per_channel(processor.image_std, channels) if normal else (),
        channels=channels,
    )


def of_torchvision(transforms: Any) -> Preprocessing:
    """The preprocessing of torchvision's `weights.transforms()`. Raises ExportError."""
    try:
        (size,), (resize,) = transforms.crop_size, transforms.resize_size
        interpolation = transforms.interpolation.value
        mean, std = tuple(transforms.mean), tuple(transforms.std)
    except (AttributeError, TypeError, ValueError) as error:
        raise ExportError(
            f"its transforms are not those of image classification: {transforms}"
        ) from error
    return Preprocessing(size=size, resize=resize, interpolation=interpolation, mean=mean, std=std)


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing that timm's `resolve_data_config` returns. Raises ExportError."""
    channels, height, width = config["input_size"]
    if height != width:
        raise ExportError(
            f"its images are {width} x {height} pixels; a worker supports squares only"
        )
    resize: int | None = math.floor(height / config["crop_pct"])
    mode = config.get("crop_mode") or "center"
    if mode == "squash" and resize == height:
        resize = None
    elif mode != "center":
        raise ExportError(f"timm's crop_mode = {mode!r} is not supported by a worker")
    return Preprocessing(
        size=height,
        resize=resize,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channels=channels,
    )


def _processor_size(processor: Any) -> tuple[int, int | None]:
    """`Preprocessing.size` and `Preprocessing.resize`."""
    kind, sizes = type(processor).__name__, processor.size
    shorter, height, width = (_entry(sizes, key) for key in ("shortest_edge", "height", "width"))
    crops = getattr(processor, "do_center_crop", None)
    fraction = getattr(processor, "crop_pct", None)
    if shorter and fraction is not None:
        return shorter, (int(shorter / fraction) if shorter < MIN_STRETCHED_SIZE else None)
    if shorter and crops:
        crop = processor.crop_size
        if _entry(crop, "height") == _entry(crop, "width"):
            return int(_entry(crop, "height") or 0), shorter
    if height and height == width and not crops:
        return height, None
    raise ExportError(
        f"its {kind} makes no square in a way that a worker supports: size {sizes}, crop {crops}"
    )


def _entry(sizes: Any, key: str) -> int | None:
    """An entry of a dict, or of transformers' SizeDict."""
    value: int | None = sizes.get(key) if isinstance(sizes, Mapping) else getattr(sizes, key, None)
    return value


def _per_channel(values: Any, channels: int) -> tuple[float, ...]:
    return tuple(values) if isinstance(values, list | tuple) else (float(values),) * channels
