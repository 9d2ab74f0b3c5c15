"""Images given as arrays of pixels: NumPy's, or torch's tensors.

Neither torch nor Pillow is imported before a caller passes an array: a tensor exists only if torch
is loaded, and Pillow makes an image of the array, which is then encoded like any other.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np

from euclidesdb import _checks as checks
from euclidesdb._tensors import is_tensor, widened

_DTYPES: Final = ("uint8", "uint16", "bool")
_FLOATS: Final = ("float16", "float32", "float64")
_ROUNDING: Final = 1e-3
"""How far a float may be outside 0 to 1: less than one of 255 steps."""


class PixelArray(Protocol):
    """The parts of numpy.ndarray and torch.Tensor that their types have in common."""

    @property
    def dtype(self) -> Any: ...
    @property
    def shape(self) -> Any: ...


def is_array(value: object) -> bool:
    """Whether `value` is an array, of whatever shape and type."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def pillow_image(array: Any) -> Any:
    """The Pillow image of an array.

    array: of shape (height, width) or (height, width, channels); a torch tensor: (height, width) or
        (channels, height, width). 1 channel is gray, 2 gray and alpha, 3 RGB, 4 RGBA, as uint8 or
        as floats from 0 to 1; a gray image may also be uint16 or bool.

    Raises TypeError or ValueError for any other array, ImportError if Pillow is not installed.
    """
    array = widened(array)
    dtype = getattr(array.dtype, "name", None) or str(array.dtype).removeprefix("torch.")
    if dtype not in (*_DTYPES, *_FLOATS):
        raise TypeError(
            f"an image array must hold uint8 (0 to 255), floats (0 to 1), uint16 or bool, not "
            f"{dtype}: convert it, or pass it as tensor= to a model that takes tensors"
        )
    checks.unmasked("image", array)
    pixels = _channels_last(array) if is_tensor(array) else np.asarray(array)
    if dtype in _FLOATS:
        pixels, dtype = _scaled(pixels), "uint8"
    gray = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1)
    if not gray and (pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4) or dtype != "uint8"):
        order = "(channels, height, width)" if is_tensor(array) else "(height, width, channels)"
        raise ValueError(
            f"an image array must have the shape (height, width) or, as uint8, {order} with 1 to 4 "
            f"channels, not {tuple(array.shape)} of {dtype}"
        )
    if not pixels.size:
        raise ValueError(f"an image array must have pixels, which shape {pixels.shape} has not")
    pixels = pixels[..., 0] if gray and pixels.ndim == 3 else pixels
    try:
        image = import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(
            "an array as an image needs Pillow: install it, or pass the bytes of an image file"
        ) from error
    return image.fromarray(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")))


def _scaled(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Floats from 0 to 1 as uint8."""
    if not pixels.size:
        return pixels.astype(np.uint8)
    low, high = pixels.min(), pixels.max()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # nor if one of them is NaN
        raise ValueError(
            f"an image array of floats must hold 0 (black) to 1 (white), not {low} to {high}: "
            "scale it, or pass it as tensor= to a model that takes tensors"
        )
    unit = pixels.astype(np.float32).clip(0, 1)
    scaled: np.ndarray[Any, Any] = np.rint(unit * 255).astype(np.uint8)
    return scaled


def _channels_last(tensor: Any) -> np.ndarray[Any, Any]:
    pixels = np.asarray(tensor.detach().cpu())
    return pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
