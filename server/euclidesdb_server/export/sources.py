"""From a source's name to a `Subject`: checkpoints of transformers, torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from torch import Tensor, nn
from transformers.utils import logging

from euclidesdb_server.export import text, vision
from euclidesdb_server.export.preprocessing import of_processor
from euclidesdb_server.export.recipe import Recipe, read_recipe
from euclidesdb_server.export.similarity import UNIT_LENGTH
from euclidesdb_server.export.subject import ExportError, ProgramOutput, Subject, foreign
from euclidesdb_server.export.zoo import timm_subject, torchvision_subject

TOWERS: Final = {"clip": ("image", "text"), "siglip": ("image",)}
"""For each type of model with two towers, the towers that can be exported."""

SINGLE_TOWERS: Final = ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection")
"""One half of a CLIP model, with its projection into the space that both halves share."""

GENERATORS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export.

    seed: for random weights; None: the published weights. tower: for a model with two.
    pooling: of a text's tokens; None: that of the checkpoint.
    """

    seed: int | None = None
    tower: Literal["image", "text"] | None = None
    pooling: Literal["mean", "cls"] | None = None


def load_subject(source: str, options: ExportOptions) -> Subject:
    """Load a source. Raises ExportError, whose message does not repeat `source`."""
    library, _, name = source.partition(":")
    zoos = {"torchvision": torchvision_subject, "timm": timm_subject}
    if library in zoos and name:
        _refuse_unless(options.tower in (None, "image"), "--tower", "an image model")
        _refuse_unless(options.pooling is None, "--pooling", "an image model")
        return zoos[library](source, name, seed=options.seed)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return _checkpoint_subject(source, options)


def _checkpoint_subject(source: str, options: ExportOptions) -> Subject:
    config: Any = _call(transformers.AutoConfig.from_pretrained, source, what="config.json")
    kind, architecture = config.model_type, (config.architectures or [""])[0]
    if getattr(config, "is_encoder_decoder", False) or architecture.endswith(GENERATORS):
        raise ExportError(
            f"{architecture or kind} is a generative model; only encoders give vectors"
        )
    if hasattr(config, "vision_config") and hasattr(config, "text_config"):
        return _tower_subject(source, config, options)
    if architecture.endswith("ForImageClassification"):
        model = _load(source, config, transformers.AutoModelForImageClassification, options)
        return _image(source, vision.classifier(model), config, options)
    projects = architecture in SINGLE_TOWERS
    maker = getattr(transformers, architecture) if projects else transformers.AutoModel
    model = _load(source, config, maker, options)
    if model.main_input_name == "pixel_values":
        if projects:
            return _image(source, vision.image_tower(model), config, options)
        return _image(source, vision.encoder(model), config, options)
    if model.main_input_name != "input_ids":
        raise ExportError(f"{type(model).__name__} takes neither images nor texts")
    _refuse_unless(options.tower in (None, "text"), "--tower", "a text model")
    if projects:
        _refuse_unless(options.pooling is None, "--pooling", "CLIP, which has its own pooling")
        return _text(source, text.text_tower(model), config, Recipe(similarity=UNIT_LENGTH))
    recipe = read_recipe(source, options.pooling)
    return _text(source, text.sentence_encoder(model, recipe), config, recipe)


def _tower_subject(source: str, config: Any, options: ExportOptions) -> Subject:
    kind: str = config.model_type
    if kind not in TOWERS:
        raise ExportError(
            f"it has two towers; of such models, only {' and '.join(TOWERS)} are supported"
        )
    tower = options.tower or (TOWERS[kind][0] if len(TOWERS[kind]) == 1 else None)
    if tower not in TOWERS[kind]:
        raise ExportError(
            f"a model of type {kind!r} has two towers: choose --tower {' or '.join(TOWERS[kind])}"
        )
    model = _load(source, config, transformers.AutoModel, options)
    if tower == "image":
        return _image(source, vision.image_tower(model), config.vision_config, options)
    _refuse_unless(options.pooling is None, "--pooling", "CLIP, which has its own pooling")
    return _text(source, text.text_tower(model), config.text_config, Recipe(similarity=UNIT_LENGTH))


def _image(
    source: str,
    made: tuple[nn.Module, Callable[..., ProgramOutput]],
    config: Any,
    options: ExportOptions,
) -> Subject:
    _refuse_unless(options.tower in (None, "image"), "--tower", "an image model")
    _refuse_unless(options.pooling is None, "--pooling", "an image model")
    processor = _call(
        transformers.AutoImageProcessor.from_pretrained, source, what="preprocessor_config.json"
    )
    preprocessing = of_processor(processor, channels=getattr(config, "num_channels", 3))
    module, _ = made
    labels: list[str] = []
    if options.seed is not None:
        vision.calibrate_batch_norms(module, preprocessing)
    elif isinstance(module, vision.Classifier):
        labels = vision.class_names(config.id2label)

    def prepare(image: Any) -> Tensor:
        pixels: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return vision.image_subject(source, made, preprocessing, prepare, labels)


def _text(
    source: str,
    made: tuple[nn.Module, Callable[..., ProgramOutput]],
    config: Any,
    recipe: Recipe,
) -> Subject:
    tokenizer = _call(transformers.AutoTokenizer.from_pretrained, source, what="tokenizer")
    return text.text_subject(source, made, tokenizer, config, recipe)


def _load(source: str, config: Any, maker: Any, options: ExportOptions) -> Any:
    """The model as float32, in eval mode. Raises ExportError if weights are missing."""
    if options.seed is not None:
        torch.manual_seed(options.seed)
        make = maker.from_config if hasattr(maker, "from_config") else maker
        return make(config).float().eval()
    model, report = _call(maker.from_pretrained, source, what="weights", output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing and all("pooler." in key for key in missing):
        # Trained without a pooler: texts are pooled by their mean, images by their CLS
        # token. By default transformers would add a pooler with random weights.
        model = _call(maker.from_pretrained, source, what="weights", add_pooling_layer=False)
    elif missing:
        raise ExportError(f"some of its weights are missing: {', '.join(missing[:3])}")
    return model.float().eval()


def _call(load: Callable[..., Any], source: str, *, what: str, **options: Any) -> Any:
    with foreign(f"cannot load its {what}"):
        return load(source, **options)


def _refuse_unless(applies: bool, option: str, model: str) -> None:
    if not applies:
        raise ExportError(f"{option} does not apply to {model}")
