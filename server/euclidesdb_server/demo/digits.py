"""scikit-learn's handwritten digits, with one split for the shipped model and the demo.

The 1,797 images of `sklearn.datasets.load_digits` (8 x 8 pixels, values 0 to 16), each as the PNG
bytes that a client would send. `split_digits` is the same on every machine: models/digits is
trained on the 1,500 digits to add, and never sees the 297 that the demo searches with.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8, shape (8, 8): gray values; 255 is full ink."""

TO_ADD = 1500


@dataclass(frozen=True, slots=True)
class Digit:
    """A handwritten digit: its id ("digit-0042": its index in the data set), PNG and class."""

    id: str
    png: bytes
    label: int


@dataclass(frozen=True, slots=True)
class Split:
    """The digits to add, and the held-out ones to search with."""

    added: tuple[Digit, ...]
    held_out: tuple[Digit, ...]


def split_digits() -> Split:
    """1,500 digits to add and 297 held out; each class has the same share of both."""
    data = load_digits()
    # The seed must never change: the shipped model would be measured on digits it was trained on.
    added, held_out = train_test_split(
        np.arange(len(data.target)),
        train_size=TO_ADD,
        stratify=data.target,
        random_state=20180711,
    )

    def digit(index: int) -> Digit:
        pixels = np.rint(data.images[index] * 255 / 16).astype(np.uint8)
        return Digit(f"digit-{index:04d}", encode_png(pixels), int(data.target[index]))

    return Split(tuple(map(digit, added)), tuple(map(digit, held_out)))


def encode_png(pixels: Pixels) -> bytes:
    """The pixels as a gray PNG (mode L)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(png: bytes) -> Pixels:
    """The gray values of a PNG, of shape (height, width)."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L"))
