"""Makes a model folder of a ResNet-18: resnet18.pt and model.conf, ready to be served.

The program takes float32 (n, 3, h, w) in [0, 1], normalises it as ImageNet models expect, and
returns `(predictions, features)`: softmax probabilities (n, 1000) and what the last pooling
gives, (n, 512). Weights come from a checkpoint that transformers can load, or are random.
Nothing is written before the program has answered like the model it was traced from.
"""

from __future__ import annotations

import argparse
import configparser
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.utils import logging

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.models.conf import MODEL_CONF, read_model_folder

IMAGE_SIZE = 224
RESIZE = 256
# The mean and deviation of ImageNet's channels, which the published weights were trained with.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
TOLERANCE = 1e-5


class ResNetProgram(nn.Module):
    """A classifier from transformers with the ends that the database wants."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, classifier: ResNetForImageClassification) -> None:
        super().__init__()
        self.resnet = classifier.resnet
        self.head = classifier.classifier
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (n, classes) and features (n, feature_dim) of images (n, 3, h, w)."""
        pooled = self.resnet((images - self.mean) / self.deviation).pooler_output
        return torch.softmax(self.head(pooled), dim=1), pooled.flatten(1)


def load_classifier(checkpoint: str) -> ResNetForImageClassification:
    """The classifier of a checkpoint, by its name on the hub or its folder; exits where none is."""
    try:
        loaded: Any = ResNetForImageClassification.from_pretrained(
            checkpoint, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(f"export.py: cannot load checkpoint {checkpoint!r}: {reason}") from error
    classifier: ResNetForImageClassification
    classifier, report = loaded
    if report["missing_keys"]:
        # transformers would go on with random weights in their place.
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise SystemExit(f"export.py: checkpoint {checkpoint!r} is no ResNet: it lacks {missing}")
    return classifier


def random_classifier(seed: int) -> ResNetForImageClassification:
    """A ResNet-18 for 1,000 classes that has learned nothing.

    Batch normalisation takes its statistics from noise: left at its initial ones, every
    block would double the variance and the features would drown in their common part.
    """
    torch.manual_seed(seed)
    config = ResNetConfig(hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic")
    config.num_labels = 1000
    classifier = ResNetForImageClassification(config)
    classifier.train()
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of what it sees
    with torch.no_grad():
        classifier(torch.randn(32, 3, 64, 64))
    return classifier


@torch.inference_mode()
def trace(model: ResNetProgram) -> torch.jit.ScriptModule:
    """The model as TorchScript; exits unless it answers like the model, at any batch size."""
    images = torch.rand(5, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        # transformers checks the number of channels, which is fixed here as well, and warns
        # when torch reads all attributes of its modules.
        warnings.simplefilter("ignore")
        program = torch.jit.trace(model, images[:2], check_trace=False)  # type: ignore[no-untyped-call]
    for size in (1, 2, 5):
        for name, traced, eager in zip(
            ("predictions", "features"), program(images[:size]), model(images[:size]), strict=True
        ):
            if traced.shape != eager.shape or not (traced - eager).abs().max() <= TOLERANCE:
                raise SystemExit(
                    f"export.py: the traced program's {name} of a batch of {size} are not the "
                    f"model's within {TOLERANCE:g}"
                )
    features = model(images)[1]
    if not torch.pdist(features).min() > 0:
        raise SystemExit("export.py: the model gives different images the same features")
    return program  # type: ignore[no-any-return]


def real_labels(names: Mapping[int, str]) -> list[str]:
    """A checkpoint's class names; none where transformers made them up (LABEL_0, ...)."""
    labels = [" ".join(names[index].split()) for index in range(len(names))]
    made_up = [f"LABEL_{index}" for index in range(len(names))]
    return [] if labels == made_up else labels


def write_folder(folder: Path, *, name: str, program: torch.jit.ScriptModule, config: Any) -> None:
    """Write NAME.pt and model.conf, and read them back as the server will."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.save(program, folder / f"{name}.pt")
    labels = real_labels(config.id2label)
    conf = configparser.ConfigParser(interpolation=None)
    conf["model"] = {
        "name": name,
        "filename": f"{name}.pt",
        "prediction_dim": str(config.num_labels),
        "feature_dim": str(config.hidden_sizes[-1]),
        "image_mode": "RGB",
        "image_size": str(IMAGE_SIZE),
        "resize": str(RESIZE),
    }
    if labels:
        conf["model"]["labels"] = "\n".join(["", *labels])
    with (folder / MODEL_CONF).open("w", encoding="utf-8") as file:
        conf.write(file)
    try:
        written = read_model_folder(folder).conf.label_names()
    except ModelLoadError as error:
        raise SystemExit(f"export.py: {error}") from error
    for label, read in zip(labels, written, strict=True):
        if label != read:
            # The folder must not be served with labels that are not the model's.
            (folder / MODEL_CONF).unlink()
            raise SystemExit(f"export.py: model.conf cannot hold the label {label!r}: got {read!r}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Load or make the weights, trace, check, write."""
    parser = argparse.ArgumentParser(description="Make a model folder of a ResNet-18.")
    parser.add_argument("output", type=Path, metavar="FOLDER", help="the model folder to write")
    parser.add_argument("--name", default="resnet18", help="the model's name (default: resnet18)")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoint",
        default="microsoft/resnet-18",
        metavar="NAME_OR_FOLDER",
        help="a checkpoint on the Hugging Face hub or in a folder (default: microsoft/resnet-18)",
    )
    weights.add_argument(
        "--random", action="store_true", help="random weights: for tests and measurements"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if options.random:
        classifier = random_classifier(options.seed)
    else:
        classifier = load_classifier(options.checkpoint)
    program = trace(ResNetProgram(classifier).eval())
    write_folder(options.output, name=options.name, program=program, config=classifier.config)
    print(f"{options.output}: {options.name}.pt and {MODEL_CONF}")


if __name__ == "__main__":
    main()
