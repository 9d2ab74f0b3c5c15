"""Tiny checkpoints with random weights, saved as the published ones are."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.support.late_import import LateImport

transformers = LateImport("transformers")

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
IMAGE: dict[str, Any] = {"image_size": 32, "patch_size": 8}
HALF = [0.5, 0.5, 0.5]
THREE: dict[str, Any] = {"num_labels": 3}
TOKENS = 24

VIT_PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "image_mean": HALF,
    "image_std": HALF,
}
CLIP_PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}
SIGLIP_PROCESSOR = {**VIT_PROCESSOR, "image_processor_type": "SiglipImageProcessor", "resample": 3}
DINOV2_PROCESSOR = {
    **CLIP_PROCESSOR,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 40},
}
RESNET_PROCESSOR = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_pct": 0.875,
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def save(folder: Path, model: Any, processor: dict[str, Any] | None = None) -> Any:
    """The model, in eval mode, as `folder` holds it."""
    with torch.no_grad():
        for parameter in model.parameters():
            # published weights are not zeros where they began as zeros
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.eval().save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


def vit(folder: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, **IMAGE, **settings)
    return save(folder, transformers.ViTModel(config), VIT_PROCESSOR)


def vit_classifier(folder: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, **IMAGE, **(settings or THREE))
    return save(folder, transformers.ViTForImageClassification(config), VIT_PROCESSOR)


def dinov2(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**SMALL, **IMAGE, mlp_ratio=2)
    return save(folder, transformers.Dinov2Model(config), DINOV2_PROCESSOR)


def dinov2_classifier(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**SMALL, **IMAGE, **THREE, mlp_ratio=2)
    return save(folder, transformers.Dinov2ForImageClassification(config), DINOV2_PROCESSOR)


def resnet_classifier(folder: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **(settings or THREE),
    )
    return save(folder, transformers.ResNetForImageClassification(config), RESNET_PROCESSOR)


def clip_config() -> Any:
    words = tokenizer("<start>", "<end>", pad="<end>")
    text = {
        "vocab_size": len(words),
        "max_position_embeddings": TOKENS,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.eos_token_id,
    }
    return transformers.CLIPConfig(
        text_config={**SMALL, **text}, vision_config={**SMALL, **IMAGE}, projection_dim=16
    )


def clip(folder: Path) -> Any:
    torch.manual_seed(0)
    model = save(folder, transformers.CLIPModel(clip_config()), CLIP_PROCESSOR)
    tokenizer("<start>", "<end>", pad="<end>").save_pretrained(folder)
    return model


def clip_image_tower(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(**SMALL, **IMAGE, projection_dim=16)
    return save(folder, transformers.CLIPVisionModelWithProjection(config), CLIP_PROCESSOR)


def clip_text_tower(folder: Path) -> Any:
    torch.manual_seed(0)
    config = clip_config().text_config
    config.projection_dim = 16
    tokenizer("<start>", "<end>", pad="<end>").save_pretrained(folder)
    return save(folder, transformers.CLIPTextModelWithProjection(config))


def siglip(folder: Path) -> Any:
    torch.manual_seed(0)
    text = {"vocab_size": 50, "max_position_embeddings": TOKENS, "projection_size": 32}
    config = transformers.SiglipConfig(
        text_config={**SMALL, **text}, vision_config={**SMALL, **IMAGE}
    )
    return save(folder, transformers.SiglipModel(config), SIGLIP_PROCESSOR)


def bert(folder: Path, model_class: str = "BertModel") -> Any:
    torch.manual_seed(0)
    words = tokenizer("[CLS]", "[SEP]")
    config = transformers.BertConfig(
        **SMALL, vocab_size=len(words), max_position_embeddings=TOKENS, pad_token_id=0
    )
    words.save_pretrained(folder)
    return save(folder, getattr(transformers, model_class)(config))


def roberta(folder: Path) -> Any:
    torch.manual_seed(0)
    words = tokenizer("<s>", "</s>", pad="<pad>", longest=10**30)
    config = transformers.RobertaConfig(
        **SMALL,
        vocab_size=len(words),
        max_position_embeddings=TOKENS + 1,
        pad_token_id=words.pad_token_id,
    )
    words.save_pretrained(folder)
    return save(folder, transformers.RobertaModel(config))


def tokenizer(begin: str, end: str, pad: str = "[PAD]", longest: int = TOKENS) -> Any:
    """Of letters, digits and stops; other characters are unknown."""
    letters = string.ascii_lowercase + string.digits + ".,"
    pieces = [*dict.fromkeys([pad, "[UNK]", begin, end]), *letters, *(f"##{a}" for a in letters)]
    words = Tokenizer(
        models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        special_tokens=[(begin, pieces.index(begin)), (end, pieces.index(end))],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=begin,
        eos_token=end,
        unk_token="[UNK]",
        pad_token=pad,
        model_max_length=longest,
    )


def sentence_files(
    folder: Path, *, kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    pooling: dict[str, Any], **sentence: Any
) -> None:  # fmt: skip
    """What sentence-transformers adds to a checkpoint."""
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "",
         "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps(sentence))
