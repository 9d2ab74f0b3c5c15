"""Model folders with tiny real TorchScript programs."""

from __future__ import annotations

from pathlib import Path

import torch


class Tiny(torch.nn.Module):
    """Features: the mean of each quarter of each channel. Predictions: a softmax of the first 3.

    Works at any size of image. With RGB: 12 features.
    """

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.nn.functional.adaptive_avg_pool2d(images, (2, 2)).flatten(1)
        return torch.softmax(features[:, :3], dim=1), features


def save_model(
    folder: Path,
    name: str = "tiny",
    *,
    module: torch.nn.Module | None = None,
    feature_dim: int = 12,
    prediction_dim: int = 3,
    **conf: object,
) -> Path:
    """Write `folder/name` with model.conf and the scripted program; returns that folder."""
    target = folder / name
    target.mkdir(parents=True)
    program = torch.jit.script((module or Tiny()).eval())
    program.save(str(target / "program.pt"))
    keys = {
        "name": name,
        "filename": "program.pt",
        "prediction_dim": prediction_dim,
        "feature_dim": feature_dim,
        **conf,
    }
    lines = ["[model]", *(f"{key} = {value}" for key, value in keys.items())]
    (target / "model.conf").write_text("\n".join(lines) + "\n")
    return target


class SlowOnWhite(torch.nn.Module):
    """Like Tiny, but a white image takes some seconds of arithmetic.

    It runs in many small steps, which more cores do not make faster.
    """

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.nn.functional.adaptive_avg_pool2d(images, (2, 2)).flatten(1)
        if bool(torch.all(images == 1.0)):
            for _ in range(self.rounds):
                features = features * 1.0
        return torch.softmax(features[:, :3], dim=1), features
