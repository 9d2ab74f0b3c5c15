"""Programs that are each wrong in one way (or odd and right), for the load check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.loading import load_program
from euclidesdb_server.worker.program import Program
from tests.support.models import save_model

Output = tuple[torch.Tensor, torch.Tensor]


def load(
    folder: Path, module: torch.nn.Module, *, feature_dim: int = 3, prediction_dim: int = 3,
    **conf: Any,
) -> Program:  # fmt: skip
    """The module saved, loaded and checked as a worker does it."""
    target = save_model(
        folder, module=module, feature_dim=feature_dim, prediction_dim=prediction_dim, **conf
    )
    return load_folder(target)


def load_folder(folder: Path) -> Program:
    """What the worker makes of a model folder."""
    model = read_model_folder(folder)
    assert isinstance(model, ModelFolder)
    return load_program(load_message(model, device="cpu", threads=1, max_image_pixels=10**6))


class Means(torch.nn.Module):
    """Right: the mean of each channel, twice. The others do this with a twist."""

    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, means


class SoftmaxOverTheBatch(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return torch.softmax(means, dim=0), means


class NormalizedOverTheBatch(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, means - means.mean(dim=0)


class DropoutLeftOn(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, torch.nn.functional.dropout(means.repeat(1, 20), 0.5, True)


class NotANumber(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, means / torch.zeros_like(means) - means / torch.zeros_like(means)


class OneAtATime(torch.nn.Module):
    """As a traced or exported program whose batch dimension was fixed."""

    def forward(self, images: torch.Tensor) -> Output:
        means = images.view(1, 3, -1).mean(dim=2)
        return means, means


class OnlyFeatures(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=[2, 3])


class ThreeOutputs(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3])
        return means, means, means


class WholeNumbers(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, (means * 255).to(torch.int64)


class NotATensor(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
        means = images.mean(dim=[2, 3])
        return means, [0.0, 1.0, 2.0]


class OneRowForAll(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means, means.flatten()


class OtherPrecision(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means.to(self.dtype), means.to(self.dtype)


class Constant(torch.nn.Module):
    """Features that do not depend on the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(images.mean(dim=[2, 3])) + 0.0 * images.mean()


class KeepsItsGrid(torch.nn.Module):
    """Features (n, 3, 1, 1), as a pooling layer without a flatten leaves them."""

    def forward(self, images: torch.Tensor) -> Output:
        return images.mean(dim=[2, 3]), images.mean(dim=[2, 3], keepdim=True)


class NoPredictions(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.mean(dim=[2, 3])
        return means[:, :0], means


class Needs32Pixels(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Output:
        means = images.reshape(-1, 3, 32, 32).mean(dim=[2, 3])
        if images.shape[2] != 32:
            raise ValueError("takes 32 x 32")
        return means, means


class Moody(torch.nn.Module):
    """Raises for a batch with a black image; NaN for a white one.

    Predictions: how many shared the forward pass, where more than two did.
    """

    def forward(self, images: torch.Tensor) -> Output:
        if bool((images.amax(dim=[1, 2, 3]) == 0).any()):
            raise ValueError("no light")
        means = images.mean(dim=[2, 3])
        count = images.shape[0] if images.shape[0] > 2 else 0
        white = (means == 1.0).all(dim=1, keepdim=True)
        return torch.full_like(means, float(count)), torch.where(white, 0.0 / (means - 1.0), means)
