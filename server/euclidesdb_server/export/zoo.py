"""Models of torchvision and timm, where those are installed: `torchvision:NAME`, `timm:NAME`.

Both are asked through their public functions alone. Features are what the last linear layer sees.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from euclidesdb_server.export.preprocessing import of_timm, of_torchvision
from euclidesdb_server.export.subject import Answer, ExportError, Subject, foreign, no_predictions
from euclidesdb_server.export.vision import image_subject, probabilities, settle_batch_norms


class Headless(nn.Module):
    """A model whose last layer has been taken off, and that layer."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, pixels: Tensor) -> Answer:
        """(n, classes) and (n, feature_dim)."""
        features = self.body(pixels)
        return probabilities(self.head(features), None), features


class TimmBody(nn.Module):
    """A model of timm, up to what its classifier sees."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim)."""
        maps = self.model.forward_features(pixels)
        features: Tensor = self.model.forward_head(maps, pre_logits=True)
        return features


def torchvision_subject(source: str, name: str, *, seed: int | None) -> Subject:
    """`source` is torchvision:`name`. seed: of random weights; None: the best published ones.

    Raises ExportError.
    """
    models = _library("torchvision.models", source)
    # unknown names, no network, damaged downloads
    with foreign("torchvision does not give it"):
        weights = models.get_model_weights(name).DEFAULT
        if seed is not None:
            torch.manual_seed(seed)
        whole = models.get_model(name, weights=weights if seed is None else None).eval()
    transforms = weights.transforms()
    preprocessing = of_torchvision(transforms)
    labels = weights.meta["categories"] if seed is None else []
    linear = [key for key, layer in whole.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ExportError(f"{type(whole).__name__} has no linear layer to take features before")
    head = whole.get_submodule(linear[-1])
    if seed is not None:
        settle_batch_norms(whole, preprocessing)
    body = copy.deepcopy(whole)
    body.set_submodule(linear[-1], nn.Identity())
    module = Headless(body, copy.deepcopy(head)).eval()
    seen: list[Tensor] = []
    head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))

    def original(pixels: Tensor) -> Answer:
        seen.clear()
        predictions = probabilities(whole(pixels), None)
        return predictions, seen[0]

    return image_subject(source, (module, original), preprocessing, transforms, labels)


def timm_subject(source: str, name: str, *, seed: int | None) -> Subject:
    """As `torchvision_subject`, for timm:`name`."""
    timm, data = _library("timm", source), _library("timm.data", source)
    with foreign("timm does not give it"):
        if seed is not None:
            torch.manual_seed(seed)
        model = timm.create_model(name, pretrained=seed is None).eval()
    config = data.resolve_data_config({}, model=model)
    preprocessing = of_timm(config)
    if seed is not None:
        settle_batch_norms(model, preprocessing)
    body, head = TimmBody(model), model.get_classifier()
    predicts = not isinstance(head, nn.Identity)

    def original(pixels: Tensor) -> Answer:
        answer = model(pixels)
        if not predicts:
            return no_predictions(answer), answer
        return probabilities(answer, None), body(pixels)

    module = Headless(body, head) if predicts else body
    told = model.pretrained_cfg.get("label_names") if seed is None else None
    labels: Sequence[str] = told or []
    transform = data.create_transform(**config, is_training=False)
    return image_subject(source, (module.eval(), original), preprocessing, transform, labels)


def _library(name: str, source: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ExportError(f"{source} needs {package}: pip install {package}") from error
