"""From the name of a source to a `Subject`: transformers' checkpoints, torchvision's, timm's."""

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
from euclidesdb_server.export.subject import Answer, ExportError, Subject, foreign
from euclidesdb_server.export.zoo import timm_subject, torchvision_subject

TOWERS: Final = {"clip": ("image", "text"), "siglip": ("image",)}
"""Of each type of model with two towers: those that can be exported."""

LONE_TOWERS: Final = ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection")
"""Half a CLIP, with the projection into the space that the other half shares."""

GENERATORS: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What the command line asks for beside the source.

    seed: of random weights; None: the published ones. tower: of a model with two.
    pooling: of a text's tokens; None: as the checkpoint says.
    """

    seed: int | None = None
    tower: Literal["image", "text"] | None = None
    pooling: Literal["mean", "cls"] | None = None


def load_subject(source: str, options: ExportOptions) -> Subject:
    """Load what `source` names. Raises ExportError, in which `source` is not named."""
    library, _, name = source.partition(":")
    zoos = {"torchvision": torchvision_subject, "timm": timm_subject}
    if library in zoos and name:
        _refuse_unless(options.tower in (None, "image"), "--tower", "an image model")
        _refuse_unless(options.pooling is None, "--pooling", "an image model")
        return zoos[library](source, name, seed=options.seed)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return _of_checkpoint(source, options)


def _of_checkpoint(source: str, options: ExportOptions) -> Subject:
    config: Any = _ask(transformers.AutoConfig.from_pretrained, source, what="config.json")
    kind, architecture = config.model_type, (config.architectures or [""])[0]
    if getattr(config, "is_encoder_decoder", False) or architecture.endswith(GENERATORS):
        raise ExportError(f"{architecture or kind} generates; what gives vectors is an encoder")
    if hasattr(config, "vision_config") and hasattr(config, "text_config"):
        return _of_two_towers(source, config, options)
    if architecture.endswith("ForImageClassification"):
        model = _load(source, config, transformers.AutoModelForImageClassification, options)
        return _image(source, vision.classifier(model), config, options)
    projects = architecture in LONE_TOWERS
    maker = getattr(transformers, architecture) if projects else transformers.AutoModel
    model = _load(source, config, maker, options)
    if model.main_input_name == "pixel_values":
        if projects:
            return _image(source, vision.image_tower(model), config, options)
        return _image(source, vision.encoder(model), config, options)
    if model.main_input_name != "input_ids":
        raise ExportError(f"a {type(model).__name__} takes neither images nor texts")
    _refuse_unless(options.tower in (None, "text"), "--tower", "a text model")
    if projects:
        _refuse_unless(options.pooling is None, "--pooling", "CLIP, which pools by itself")
        return _text(source, text.text_tower(model), config, Recipe())
    recipe = read_recipe(source, options.pooling)
    return _text(source, text.sentence_encoder(model, recipe), config, recipe)


def _of_two_towers(source: str, config: Any, options: ExportOptions) -> Subject:
    kind: str = config.model_type
    if kind not in TOWERS:
        raise ExportError(f"of models with two towers, {' and '.join(TOWERS)} can be exported")
    tower = options.tower or (TOWERS[kind][0] if len(TOWERS[kind]) == 1 else None)
    if tower not in TOWERS[kind]:
        raise ExportError(
            f"a model of type {kind!r} has two towers: choose --tower {' or '.join(TOWERS[kind])}"
        )
    model = _load(source, config, transformers.AutoModel, options)
    if tower == "image":
        return _image(source, vision.image_tower(model), config.vision_config, options)
    _refuse_unless(options.pooling is None, "--pooling", "CLIP, which pools by itself")
    return _text(source, text.text_tower(model), config.text_config, Recipe())


def _image(
    source: str, made: tuple[nn.Module, Callable[..., Answer]], config: Any, options: ExportOptions
) -> Subject:
    _refuse_unless(options.tower in (None, "image"), "--tower", "an image model")
    _refuse_unless(options.pooling is None, "--pooling", "an image model")
    processor = _ask(
        transformers.AutoImageProcessor.from_pretrained, source, what="preprocessor_config.json"
    )
    preprocessing = of_processor(processor, channels=getattr(config, "num_channels", 3))
    module, _ = made
    labels: list[str] = []
    if options.seed is not None:
        vision.settle_batch_norms(module, preprocessing)
    elif isinstance(module, vision.Classifier):
        labels = vision.real_labels(config.id2label)

    def prepare(image: Any) -> Tensor:
        pixels: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return vision.image_subject(source, made, preprocessing, prepare, labels)


def _text(
    source: str,
    made: tuple[nn.Module, Callable[..., Answer]],
    config: Any,
    recipe: Recipe,
) -> Subject:
    tokenizer = _ask(transformers.AutoTokenizer.from_pretrained, source, what="tokenizer")
    return text.text_subject(source, made, tokenizer, config, recipe)


def _load(source: str, config: Any, maker: Any, options: ExportOptions) -> Any:
    """The model, float32, in eval mode. Raises ExportError where weights are missing."""
    if options.seed is not None:
        torch.manual_seed(options.seed)
        make = maker.from_config if hasattr(maker, "from_config") else maker
        return make(config).float().eval()
    model, report = _ask(maker.from_pretrained, source, what="weights", output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing and all("pooler." in key for key in missing):
        # trained without one, as texts are pooled by their mean, and images by their CLS token;
        # transformers would go on with random weights in its place
        model = _ask(maker.from_pretrained, source, what="weights", add_pooling_layer=False)
    elif missing:
        raise ExportError(f"its weights are not all there: it lacks {', '.join(missing[:3])}")
    return model.float().eval()


def _ask(load: Callable[..., Any], source: str, *, what: str, **options: Any) -> Any:
    with foreign(f"cannot load its {what}"):
        return load(source, **options)


def _refuse_unless(fits: bool, option: str, what: str) -> None:
    if not fits:
        raise ExportError(f"{option} makes no sense for {what}")
