"""Make a model folder: a TorchScript program and its model.conf. Requires torch.

python examples/own_model.py my-models/color
euclidesdb serve --models my-models
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

CONF = "[model]\nname = color\nfilename = color.pt\nprediction_dim = 2\nfeature_dim = 12\n"
CONF += "image_size = 32\nlabels = dark\n    bright\n"


class MeanColors(nn.Module):
    """Features: the mean color of each quarter of an image. Predictions: dark or bright."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (n, 3, 32, 32) in [0, 1] to predictions (n, 2) and features (n, 12)."""
        features = nn.functional.adaptive_avg_pool2d(images, (2, 2)).flatten(1)
        brightness = features.mean(dim=1)
        return torch.stack([1 - brightness, brightness], dim=1), features


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the model folder to make")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.save(torch.jit.script(MeanColors().eval()), folder / "color.pt")
    (folder / "model.conf").write_text(CONF)
    print(f"To serve the model: euclidesdb serve --models {folder.parent}")


if __name__ == "__main__":
    main()
