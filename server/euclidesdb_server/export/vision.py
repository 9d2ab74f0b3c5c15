"""Image models of transformers: classifiers, encoders, and the image towers of CLIP and SigLIP.

Features are what the model itself calls its pooled output: projected and of length 1 for a tower,
as its checkpoint compares images with texts; of an encoder that pools nothing, its CLS token.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from euclidesdb_server.export.preprocessing import Preprocessing
from euclidesdb_server.export.subject import Answer, ExportError, Subject, foreign, no_predictions

SAMPLE_SIZES: Final = ((640, 320), (320, 640), (300, 300), (100, 200), (48, 24))
"""Width and height. Multiples of the shorter side: libraries round the longer one differently."""

CLS_FIRST: Final = ("beit", "deit", "dinov2", "dinov2_with_registers", "vit", "vit_msn")
"""Types of model whose first token stands for the image."""


class Encoder(nn.Module):
    """Features of pixels (n, channels, h, w), by an encoder of transformers."""

    def __init__(self, base: nn.Module, model_type: str) -> None:
        super().__init__()
        self.base = base
        self.model_type = model_type

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim)."""
        return self.features(self.base(pixel_values=pixels))

    def features(self, output: Any) -> Tensor:
        """Of what the encoder returned. Raises ExportError where nothing stands for an image."""
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        if self.model_type not in CLS_FIRST:
            raise ExportError(f"a model of type {self.model_type!r} pools nothing into features")
        cls: Tensor = output.last_hidden_state[:, 0]
        return cls


class Classifier(Encoder):
    """Predictions, too, by the classifier's head on what the encoder returned."""

    def __init__(self, base: nn.Module, head: nn.Module, config: Any) -> None:
        super().__init__(base, config.model_type)
        self.head = head
        self.problem: str | None = config.problem_type

    def forward(self, pixels: Tensor) -> Answer:  # type: ignore[override]
        """(n, classes) and (n, feature_dim)."""
        output = self.base(pixel_values=pixels)
        features = self.features(output)
        seen = features
        if self.model_type.startswith("dinov2"):
            registers = getattr(self.base.config, "num_register_tokens", 0)
            patches = output.last_hidden_state[:, 1 + registers :]
            seen = torch.cat([features, patches.mean(dim=1)], dim=1)
        return probabilities(self.head(seen), self.problem), features


class ImageTower(nn.Module):
    """The image half of a CLIP or a SigLIP, or a CLIP's alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tower: Any = model.vision_model
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim), each of length 1."""
        pooled = self.tower(pixel_values=pixels).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)


def classifier(model: Any) -> tuple[nn.Module, Callable[..., Answer]]:
    """Module and original of a `...ForImageClassification`. Raises ExportError."""
    base, head = getattr(model, model.base_model_prefix, None), getattr(model, "classifier", None)
    if base is None or head is None:
        raise ExportError(f"{type(model).__name__} has no head named classifier after its encoder")
    module = Classifier(base, head, model.config)

    def original(pixels: Tensor) -> Answer:
        predictions = probabilities(model(pixel_values=pixels).logits, model.config.problem_type)
        return predictions, module.features(base(pixel_values=pixels))

    return module, original


def encoder(model: Any) -> tuple[nn.Module, Callable[..., Answer]]:
    """Module and original of a model without a head."""
    module = Encoder(model, model.config.model_type)

    def original(pixels: Tensor) -> Answer:
        features = module.features(model(pixel_values=pixels))
        return no_predictions(features), features

    return module, original


def image_tower(model: Any) -> tuple[nn.Module, Callable[..., Answer]]:
    """Module and original of the image half of a model with two, or of that half alone."""

    def original(pixels: Tensor) -> Answer:
        texts = {}
        if hasattr(model, "text_model"):
            # any text: the two halves meet only in the logits
            longest = model.config.text_config.max_position_embeddings
            texts = {"input_ids": torch.zeros(1, longest, dtype=torch.int64)}
        features = functional.normalize(model(pixel_values=pixels, **texts).image_embeds, dim=-1)
        return no_predictions(features), features

    return ImageTower(model), original


def probabilities(logits: Tensor, problem: str | None) -> Tensor:
    """Softmax, but where each class is a question of its own."""
    if problem == "multi_label_classification":
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)


def image_subject(
    source: str,
    made: tuple[nn.Module, Callable[..., Answer]],
    preprocessing: Preprocessing,
    prepare: Callable[[Image.Image], Tensor],
    labels: Sequence[str],
) -> Subject:
    """made: module and original. prepare: pixels (channels, h, w) of an image, by the library."""
    module, original = made
    mode = "RGB" if preprocessing.channels == 3 else "L"

    def prepared(data: bytes) -> list[Tensor]:
        with Image.open(io.BytesIO(data)) as image:
            return [prepare(image.convert(mode)).unsqueeze(0)]

    shape = (2, preprocessing.channels, preprocessing.size, preprocessing.size)
    return Subject(
        source=source,
        module=module,
        original=original,
        prepare=prepared,
        example=(torch.randn(shape, generator=torch.Generator().manual_seed(0)),),
        free=({0: "batch"},),
        samples=sample_images(mode),
        conf=preprocessing.conf(),
        labels=labels,
    )


def sample_images(mode: str) -> list[bytes]:
    """PNG files of noise, of several sizes: no two ways of resizing treat it alike."""
    generator = np.random.default_rng(0)
    images = []
    for width, height in SAMPLE_SIZES:
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(stream, "PNG")
        images.append(stream.getvalue())
    return images


def real_labels(names: Mapping[int, str]) -> list[str]:
    """A checkpoint's class names; none where transformers made them up (LABEL_0, ...)."""
    labels = [" ".join(names[index].split()) for index in range(len(names))]
    made_up = [f"LABEL_{index}" for index in range(len(names))]
    return [] if labels == made_up else labels


@torch.no_grad()
def settle_batch_norms(model: nn.Module, preprocessing: Preprocessing) -> None:
    """Give the batch normalization of random weights the statistics of noise.

    Left at its initial ones, every block would double the variance, and the features would
    drown in their common part.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.momentum = None  # the plain average of what it sees
    shape = (8, preprocessing.channels, preprocessing.size, preprocessing.size)
    with foreign("the model fails on noise"):
        model(torch.randn(shape))
    model.eval()
