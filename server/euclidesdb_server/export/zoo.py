"""Models of torchvision and timm, if these are installed: `torchvision:NAME`, `timm:NAME`.

Only public functions of both are used. Features are the input of the last linear layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from euclidesdb_server.export.preprocessing import of_timm, of_torchvision
from euclidesdb_server.export.subject import (
    ExportError,
    ProgramOutput,
    Subject,
    foreign,
    no_predictions,
)
from euclidesdb_server.export.vision import calibrate_batch_norms, image_subject, probabilities


class Headless(nn.Module):
    """A model without its last layer, and that layer."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, pixels: Tensor) -> ProgramOutput:
        """(n, classes) and (n, feature_dim)."""
        features = self.body(pixels)
        return probabilities(self.head(features), None), features


class TimmBody(nn.Module):
    """A model of timm without its classifier."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, feature_dim)."""
        maps = self.model.forward_features(pixels)
        features: Tensor = self.model.forward_head(maps, pre_logits=True)
        return features


def torchvision_subject(source: str, name: str, *, seed: int | None) -> Subject:
    """The subject of torchvision:`name`. Raises ExportError.

    source: that full name. seed: for random weights; None: the best published weights.
    """
    models = _library("torchvision.models", source)
    # unknown names, no network, damaged downloads
    with foreign("torchvision cannot load it"):
        weights = models.get_model_weights(name).DEFAULT
        if seed is not None:
            torch.manual_seed(seed)
        whole = models.get_model(name, weights=weights if seed is None else None).eval()
    transforms = weights.transforms()
    preprocessing = of_torchvision(transforms)
    labels = weights.meta["categories"] if seed is None else []
    linear = [key for key, layer in whole.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ExportError(
            f"{type(whole).__name__} has no linear layer whose input could be the features"
        )
    head = whole.get_submodule(linear[-1])
    if seed is not None:
        calibrate_batch_norms(whole, preprocessing)
    body = copy.deepcopy(whole)
    body.set_submodule(linear[-1], nn.Identity())
    module = Headless(body, copy.deepcopy(head)).eval()
    head_inputs: list[Tensor] = []
    head.register_forward_pre_hook(lambda _, arguments: head_inputs.append(arguments[0]))

    def original(pixels: Tensor) -> ProgramOutput:
        head_inputs.clear()
        predictions = probabilities(whole(pixels), None)
        return predictions, head_inputs[0]

    return image_subject(source, (module, original), preprocessing, transforms, labels)


def timm_subject(source: str, name: str, *, seed: int | None) -> Subject:
    """The subject of timm:`name`; see `torchvision_subject`."""
    timm, data = _library("timm", source), _library("timm.data", source)
    with foreign("timm cannot load it"):
        if seed is not None:
            torch.manual_seed(seed)
        model = timm.create_model(name, pretrained=seed is None).eval()
    config = data.resolve_data_config({}, model=model)
    preprocessing = of_timm(config)
    if seed is not None:
        calibrate_batch_norms(model, preprocessing)
    body, head = TimmBody(model), model.get_classifier()
    predicts = not isinstance(head, nn.Identity)

    def original(pixels: Tensor) -> ProgramOutput:
        output = model(pixels)
        if not predicts:
            return no_predictions(output), output
        return probabilities(output, None), body(pixels)

    module = Headless(body, head) if predicts else body
    names = model.pretrained_cfg.get("label_names") if seed is None else None
    labels: Sequence[str] = names or []
    transform = data.create_transform(**config, is_training=False)
    return image_subject(source, (module.eval(), original), preprocessing, transform, labels)


def _library(name: str, source: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ExportError(f"{source} needs {package}: pip install {package}") from error
