"""Image models of transformers: classifiers, encoders, and the image towers of CLIP and SigLIP.

Features are the model's own pooled output. A tower's are projected and have length 1, as needed to
compare them with those of texts; an encoder without pooling gives its CLS token.
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
from euclidesdb_server.export.similarity import UNDECLARED, UNIT_LENGTH
from euclidesdb_server.export.subject import (
    ExportError,
    ProgramOutput,
    Subject,
    foreign,
    no_predictions,
)

SAMPLE_SIZES: Final = ((640, 320), (320, 640), (300, 300), (100, 200), (48, 24))
"""Width and height. One is a multiple of the other: libraries round the longer side differently."""

CLS_FIRST: Final = ("beit", "deit", "dinov2", "dinov2_with_registers", "vit", "vit_msn")
"""Types of model whose first token represents the image."""


class Encoder(nn.Module):
    """An encoder of transformers: features from pixels of shape (n, channels, h, w)."""

    def __init__(self, base: nn.Module, model_type: str) -> None:
        super().__init__()
        self.base = base
        self.model_type = model_type

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim)."""
        return self.features(self.base(pixel_values=pixels))

    def features(self, output: Any) -> Tensor:
        """The features in the encoder's output. Raises ExportError if it has none."""
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        if self.model_type not in CLS_FIRST:
            raise ExportError(f"a model of type {self.model_type!r} has no pooled output")
        cls: Tensor = output.last_hidden_state[:, 0]
        return cls


class Classifier(Encoder):
    """An encoder with its classification head: predictions and features."""

    def __init__(self, base: nn.Module, head: nn.Module, config: Any) -> None:
        super().__init__(base, config.model_type)
        self.head = head
        self.problem: str | None = config.problem_type

    def forward(self, pixels: Tensor) -> ProgramOutput:  # type: ignore[override]
        """(n, classes) and (n, feature_dim)."""
        output = self.base(pixel_values=pixels)
        features = self.features(output)
        head_input = features
        if self.model_type.startswith("dinov2"):
            registers = getattr(self.base.config, "num_register_tokens", 0)
            patches = output.last_hidden_state[:, 1 + registers :]
            head_input = torch.cat([features, patches.mean(dim=1)], dim=1)
        return probabilities(self.head(head_input), self.problem), features


class ImageTower(nn.Module):
    """The image half of a CLIP or SigLIP model, or a CLIP model that has only this half."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tower: Any = model.vision_model
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim), each of length 1."""
        pooled = self.tower(pixel_values=pixels).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)


def classifier(model: Any) -> tuple[nn.Module, Callable[..., ProgramOutput]]:
    """Module and original of a `...ForImageClassification`. Raises ExportError."""
    base, head = getattr(model, model.base_model_prefix, None), getattr(model, "classifier", None)
    if base is None or head is None:
        raise ExportError(f"{type(model).__name__} has no head named classifier after its encoder")
    module = Classifier(base, head, model.config)

    def original(pixels: Tensor) -> ProgramOutput:
        predictions = probabilities(model(pixel_values=pixels).logits, model.config.problem_type)
        return predictions, module.features(base(pixel_values=pixels))

    return module, original


def encoder(model: Any) -> tuple[nn.Module, Callable[..., ProgramOutput]]:
    """Module and original of a model without a head."""
    module = Encoder(model, model.config.model_type)

    def original(pixels: Tensor) -> ProgramOutput:
        features = module.features(model(pixel_values=pixels))
        return no_predictions(features), features

    return module, original


def image_tower(model: Any) -> tuple[nn.Module, Callable[..., ProgramOutput]]:
    """Module and original of the image half of a CLIP or SigLIP model."""

    def original(pixels: Tensor) -> ProgramOutput:
        texts = {}
        if hasattr(model, "text_model"):
            # any text will do: the two halves meet only in the logits
            longest = model.config.text_config.max_position_embeddings
            texts = {"input_ids": torch.zeros(1, longest, dtype=torch.int64)}
        features = functional.normalize(model(pixel_values=pixels, **texts).image_embeds, dim=-1)
        return no_predictions(features), features

    return ImageTower(model), original


def probabilities(logits: Tensor, problem: str | None) -> Tensor:
    """The softmax; or the sigmoid, if the classes are independent of one another."""
    if problem == "multi_label_classification":
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)


def image_subject(
    source: str,
    made: tuple[nn.Module, Callable[..., ProgramOutput]],
    preprocessing: Preprocessing,
    prepare: Callable[[Image.Image], Tensor],
    labels: Sequence[str],
) -> Subject:
    """The subject of an image model.

    made: module and original. prepare: the library's pixels (channels, h, w) of an image.
    """
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
        similarity=UNIT_LENGTH if isinstance(module, ImageTower) else UNDECLARED,
    )


def sample_images(mode: str) -> list[bytes]:
    """PNG files of noise in several sizes: every way of resizing gives different pixels."""
    generator = np.random.default_rng(0)
    images = []
    for width, height in SAMPLE_SIZES:
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(stream, "PNG")
        images.append(stream.getvalue())
    return images


def class_names(names: Mapping[int, str]) -> list[str]:
    """A checkpoint's class names; empty if they are transformers' placeholders (LABEL_0, ...)."""
    labels = [" ".join(names[index].split()) for index in range(len(names))]
    placeholders = [f"LABEL_{index}" for index in range(len(names))]
    return [] if labels == placeholders else labels


@torch.no_grad()
def calibrate_batch_norms(model: nn.Module, preprocessing: Preprocessing) -> None:
    """Set the statistics of a random model's batch normalization from noise.

    With its initial statistics every block would double the variance, and the features of
    different images would hardly differ.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.train()
        norm.momentum = None  # a plain average over the batches
    shape = (8, preprocessing.channels, preprocessing.size, preprocessing.size)
    with foreign("the model fails on noise"):
        model(torch.randn(shape))
    model.eval()
