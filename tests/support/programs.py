"""Programs that crash or hang on certain images, for tests of the worker process around them."""

from __future__ import annotations

import torch
from PIL import Image

from tests.support.images import encoded


class Moody(torch.nn.Module):
    """Features: the mean of each channel, and the size of the batch if it is more than two (the
    load check would notice the difference). A batch with a white image kills the process, one
    with a black image never ends. No predictions.
    """

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3])
        rounds = 0
        while bool((means.amax(dim=1) == 0).any()):
            rounds += 1
        if bool((means.amin(dim=1) == 1).any()):
            # an unchecked index: a write far outside of the tensor
            far = torch.full([1, 1], 1 << 60, dtype=torch.long)
            wild = torch.ops.aten._sparse_coo_tensor_unsafe(far, torch.ones([1]), [4])
            means = means + wild.to_dense().sum()
        count = float(images.shape[0]) if images.shape[0] > 2 else 0.0
        shared = torch.full([images.shape[0], 1], count)
        return means[:, :0], torch.cat([means, shared], dim=1)


class Lethal(torch.nn.Module):
    """Kills every process that runs it."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        far = torch.full([1, 1], 1 << 60, dtype=torch.long)
        wild = torch.ops.aten._sparse_coo_tensor_unsafe(far, torch.ones([1]), [4])
        return images, wild.to_dense()


MOODY_DIMS = {"feature_dim": 4, "prediction_dim": 0}


def gray(value: int) -> bytes:
    """An image whose channel means are `value` / 255; 255 kills a Moody, 0 hangs it."""
    return encoded(Image.new("RGB", (8, 8), (value,) * 3))


class Picky(torch.nn.Module):
    """As Moody, but it raises on a black image, and returns NaN for a white one."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3])
        if bool((means.amax(dim=1) == 0).any()):
            raise RuntimeError("it is too dark")
        white = (means.amin(dim=1, keepdim=True) == 1).to(means.dtype)
        means = means + torch.sqrt(-white)
        return means[:, :0], torch.cat([means, means[:, :1]], dim=1)
