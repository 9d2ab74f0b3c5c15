"""What the exporter asks of torchvision and timm, with the names and results that those document,
around one small convolutional network. Their weights cannot be had without a network.
"""

from __future__ import annotations

import enum
import types
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CATEGORIES = ["tench", "goldfish", "great white shark"]


class Network(nn.Module):
    """3 classes, 8 features, with the methods of timm's models."""

    pretrained_cfg = types.MappingProxyType({"label_names": CATEGORIES})

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes) if classes else nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class LosesItsHead(Network):
    """Answers otherwise than its parts do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x)) * 2


def trained(seed: int) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Network()


def eval_transform(image: Image.Image, resize: int, size: int, resampling: int) -> torch.Tensor:
    """Both libraries': shorter side, center, [0, 1], normalized."""
    scale = resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), resampling)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class InterpolationMode(enum.Enum):
    """torchvision.transforms.InterpolationMode."""

    BILINEAR = "bilinear"


class ImageClassification:
    """torchvision.transforms._presets.ImageClassification."""

    crop_size, resize_size = (24,), (32,)
    mean, std = [*MEAN], [*STD]
    interpolation = InterpolationMode.BILINEAR

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return eval_transform(image, 32, 24, Image.Resampling.BILINEAR)


class Weights:
    """A member of a weights enum of torchvision."""

    meta = types.MappingProxyType({"categories": CATEGORIES})
    transforms = ImageClassification


WEIGHTS = Weights()


def torchvision() -> dict[str, types.ModuleType]:
    """For sys.modules."""
    models: Any = types.ModuleType("torchvision.models")

    def get_model_weights(name: str) -> type:
        if name != "network":
            raise ValueError(f"Unknown model {name}")
        return type("Network_Weights", (), {"DEFAULT": WEIGHTS})

    def get_model(name: str, weights: Weights | None = None) -> nn.Module:
        assert name == "network"
        assert weights in (None, WEIGHTS)
        return trained(11) if weights else Network()

    models.get_model_weights, models.get_model = get_model_weights, get_model
    package: Any = types.ModuleType("torchvision")
    package.models = models
    return {"torchvision": package, "torchvision.models": models}


def timm(**config: object) -> dict[str, types.ModuleType]:
    """For sys.modules; config: what differs in the result of `resolve_data_config`."""
    settings = {
        "input_size": (3, 24, 24),
        "interpolation": "bicubic",
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.75,
        "crop_mode": "center",
        **config,
    }

    def create_model(name: str, pretrained: bool = False) -> nn.Module:
        if name == "loses":
            return LosesItsHead()
        if name == "features":
            return Network(classes=0)
        assert name == "network.a1_in1k"
        return trained(12) if pretrained else Network()

    def create_transform(*, is_training: bool, **asked: object):
        assert not is_training
        assert asked == settings
        return lambda image: eval_transform(image, 32, 24, Image.Resampling.BICUBIC)

    def resolve_data_config(arguments: dict[str, object], model: nn.Module | None):
        assert arguments == {}
        assert model is None or isinstance(model, Network)
        return settings

    data: Any = types.ModuleType("timm.data")
    data.resolve_data_config, data.create_transform = resolve_data_config, create_transform
    package: Any = types.ModuleType("timm")
    package.create_model, package.data = create_model, data
    return {"timm": package, "timm.data": data}
