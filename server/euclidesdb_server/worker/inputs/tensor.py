"""Tensors: NumPy's .npy bytes become the same array, batch dimension first.

The server wrote those bytes from the array that a client sent. dtype and shape must be those of
model.conf.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from euclidesdb_server.worker.inputs.protocol import Undecodable, groups_of_one_shape

SAMPLE_LENGTHS: Final = (16, 64, 100, 1024, 16_000, 1)
"""Tried in turn for the dimensions of any length."""


class TensorInput:
    """The input kind `tensor`, with the settings of one model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._dtype = np.dtype(settings["input_dtype"]).newbyteorder("<")
        self._shape: list[str] = settings["input_shape"]
        self.decoding = json.dumps([settings["input_dtype"], settings["input_shape"]]).encode()

    def decode(self, data: bytes) -> torch.Tensor:
        """The array, of input_dtype and input_shape."""
        try:
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except Exception as error:  # numpy raises anything on bad bytes
            raise Undecodable(f"the tensor cannot be read: {error}") from error
        if array.dtype != self._dtype:
            raise Undecodable(f"the tensor is {array.dtype}, the model takes {self._dtype}")
        fits = len(array.shape) == len(self._shape) and all(
            expected == "*" or int(expected) == length
            for expected, length in zip(self._shape, array.shape, strict=True)
        )
        if not fits or 0 in array.shape:
            expected = ", ".join(self._shape)
            raise Undecodable(f"the tensor has shape {array.shape}, the model takes ({expected})")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Undecodable("the tensor has values that are NaN or infinite")
        return torch.from_numpy(np.asarray(array, order="C"))

    groups = staticmethod(groups_of_one_shape)

    def collate(self, items: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        """One argument, shape (n, *input_shape)."""
        return [torch.stack([*items]).to(device)]

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """Noise; for integers 0 and 1, which are valid token numbers, too."""
        generator = np.random.default_rng(0)
        for length in SAMPLE_LENGTHS if "*" in self._shape else SAMPLE_LENGTHS[:1]:
            shape = [length if expected == "*" else int(expected) for expected in self._shape]
            noise = generator.standard_normal((2, *shape))
            values = noise if self._dtype.kind == "f" else noise > 0
            yield [*torch.from_numpy(values.astype(self._dtype))]
