"""A model that fails on some of its inputs."""

from __future__ import annotations

import torch


class Uneven(torch.nn.Module):
    """Features: the two numbers. Predictions: a softmax of them. Fails if the first is negative."""

    def forward(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if bool(torch.any(pairs[:, 0] < 0)):
            raise ValueError("the first number is negative")
        return torch.softmax(pairs, dim=1), pairs * 1.0
