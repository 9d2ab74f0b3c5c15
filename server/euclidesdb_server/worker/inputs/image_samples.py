"""The samples of a Pillow image, whatever their type, as 8 bits per channel.

The range of the samples is read from the file where the file declares it (the bits and the sample
format of a TIFF, the depth of a PNG). 32-bit and floating-point samples have no customary range:
it is the smallest of the usual ones that they fill, and an image that fills none is Undecodable,
never black or white. Alpha is composited over white.

Images are converted in bands of rows, so that wide types and masks never exist at full size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from euclidesdb_server.worker.inputs.protocol import Undecodable

BAND_PIXELS: Final = 1 << 20

OVERSHOOT: Final = 0.1
"""How far floats may leave their range, as a share of it: resampling with a Lanczos filter does
this at edges."""

MIN_FILLED: Final = 1 / 16
"""The share of a range that its largest sample must reach, if a smaller range exists."""

MIN_SPAN: Final = 1 / 4
"""The share of a signed type's range that negative samples must span to be read by that range."""

MAY_LACK_ALPHA: Final = ("BMP", "ICO", "TIFF")
"""In these, programs write a fourth byte of 0 that is not meant as alpha."""

PHOTOMETRIC, BITS_PER_SAMPLE, SAMPLE_FORMAT, EXTRA_SAMPLES = 262, 258, 339, 338  # tags of TIFF 6.0
MIN_IS_WHITE: Final = 0

Samples: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SampleType:
    """What a file declares about its samples. inverted: the smallest sample is white."""

    kind: Literal["unsigned", "signed", "float"]
    bits: int
    inverted: bool = False

    @property
    def declared_range(self) -> tuple[float, float] | None:
        """The samples that are black and white; None: only the samples can tell."""
        if self.kind == "unsigned" and self.bits <= 16:
            return 0, 2**self.bits - 1
        if self.kind == "signed" and self.bits <= 8:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return None

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        """The range of samples between `low` and `high`. Raises Undecodable."""
        if self.kind == "float":
            tops, overshoot = [1.0, 255.0, 65535.0], OVERSHOOT
        else:
            largest = 2 ** (self.bits - (self.kind == "signed")) - 1
            tops, overshoot = [top for top in (255.0, 65535.0) if top < largest], 0.0
            tops.append(float(largest))
        for top in tops:
            if low >= -overshoot * top and high <= (1 + overshoot) * top:
                if high >= MIN_FILLED * top or top == tops[0]:
                    return 0, top
                break
        half = 2 ** (self.bits - 1)
        if self.kind == "signed" and low < 0 and high - low >= MIN_SPAN * 2 * half:
            return -half, half - 1
        raise Undecodable(
            f"the range of the image's {self} samples, from {low:g} to {high:g}, is not known: "
            "save it with 8 or 16 bits, or with floats from 0 to 1"
        )

    def __str__(self) -> str:
        return f"{self.bits}-bit {'' if self.kind == 'unsigned' else self.kind}".rstrip()


def eight_bit(image: Image.Image, kind: str) -> Image.Image:
    """A loaded image as RGB, L, or another 8-bit mode without transparency.

    kind: the format of the file. Raises Undecodable.
    """
    sample_type = _sample_type(image, kind)
    if sample_type is not None:
        image = _scaled(image, sample_type)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if kind in MAY_LACK_ALPHA and _is_invisible(image):
        image = image.convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        return _over_white(image)
    return image


def _sample_type(image: Image.Image, kind: str) -> SampleType | None:
    """None: the image has 8 unsigned bits per sample, or fewer."""
    if kind == "TIFF":
        return _tiff_sample_type(image.tag_v2)  # type: ignore[attr-defined]
    if image.mode == "F":
        return SampleType("float", 32)
    # Pillow scales the samples of a PNG, PPM or JPEG 2000 to 16 bits
    return SampleType("unsigned", 16) if image.mode.startswith("I") else None


def _tiff_sample_type(tags: Any) -> SampleType | None:
    bits = int(tags.get(BITS_PER_SAMPLE, (1,))[0])
    inverted = tags.get(PHOTOMETRIC) == MIN_IS_WHITE
    match int(tags.get(SAMPLE_FORMAT, (1,))[0]):
        case 3:
            return SampleType("float", bits, inverted)
        case 2:
            return SampleType("signed", bits, inverted)
    several = len(tags.get(BITS_PER_SAMPLE, (1,))) > 1  # Pillow reads those as 8 bits
    return SampleType("unsigned", bits, inverted) if bits > 8 and not several else None


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Each band of rows, after the number of its first row."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _samples(band: Image.Image, sample_type: SampleType) -> Samples:
    values = np.asarray(band)
    if sample_type.bits == 32 and sample_type.kind == "unsigned":
        return values.view(np.uint32)  # Pillow holds them as if they were signed
    return values.view(np.int8) if sample_type.bits == 8 else values


def _extrema(image: Image.Image, sample_type: SampleType) -> tuple[float, float]:
    """Of the finite samples; (0, 0) if there are none."""
    low, high = np.inf, -np.inf
    for _, band in _bands(image):
        values = _samples(band, sample_type)
        if sample_type.kind == "float":
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _scaled(image: Image.Image, sample_type: SampleType) -> Image.Image:
    """Mode L. A sample that is not a number becomes black."""
    span = sample_type.declared_range
    low, high = span or sample_type.range_of(*_extrema(image, sample_type))
    is_wide = sample_type.kind == "unsigned" and sample_type.bits <= 16
    table = _to_bytes(np.arange(int(high) + 1), low, high) if is_wide else None
    transparent = image.info.get("transparency")
    scaled = Image.new("L", image.size)
    for top, band in _bands(image):
        samples = _samples(band, sample_type)
        if table is None:
            values = _to_bytes(samples, low, high)
        else:
            values = np.take(table, samples, mode="clip")
        if sample_type.inverted:
            values = 255 - values
        if isinstance(transparent, int):
            values[samples == transparent] = 255
        scaled.paste(Image.fromarray(values), (0, top))
    shades = scaled.getextrema()
    if shades[0] == shades[1]:
        darkest, brightest = _extrema(image, sample_type)
        if darkest != brightest and transparent is None:
            raise Undecodable(
                f"the image's {sample_type} samples, from {darkest:g} to {brightest:g}, are all "
                f"one shade in their range of {low:g} to {high:g}: save it with 8 bits"
            )
    return scaled


def _to_bytes(samples: Samples, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Floats are rounded; integers are cut, as Pillow cuts 16 bits to their upper 8."""
    # 1/1000: of float32's error, up to 1e-4, nothing is left; a step of 16 bits is 1/257
    nudge = 0.5 if samples.dtype.kind == "f" else 1e-3
    share = (samples.astype(np.float32) - low) * (255 / (high - low)) + nudge
    np.nan_to_num(share, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    levels: npt.NDArray[np.uint8] = np.clip(share, 0, 255).astype(np.uint8)
    return levels


def _is_invisible(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _over_white(image: Image.Image) -> Image.Image:
    composed = Image.new("RGB", image.size)
    for top, band in _bands(image):
        colors = band.convert("RGBA")
        white = Image.new("RGBA", band.size, (255, 255, 255, 255))
        composed.paste(Image.alpha_composite(white, colors).convert("RGB"), (0, top))
    return composed
