"""Text models of transformers: BERT-like encoders, sentence-transformers, CLIP's text tower.

Pooling is part of the program. The vectors of CLIP's tower are projected and have length 1, as
needed to compare them with those of images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase, Sequence
from torch import Tensor, nn
from torch.nn import functional

from euclidesdb_server.export.recipe import Recipe
from euclidesdb_server.export.subject import ExportError, ProgramOutput, Subject, no_predictions

MAX_TOKENS: Final = 1 << 20
PADDED_POSITIONS: Final = (
    "camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"
)  # fmt: skip
"""Types of model whose positions start at the padding token's id + 1."""

SAMPLES: Final = (
    "A cat.",
    "The quick brown fox jumps over the lazy dog, 1234 times.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "a",
    "What is most like this image of a pair of red shoes, size 42, slightly worn?",
)


class SentenceEncoder(nn.Module):
    """One vector per text: the mean of its tokens, or the first one."""

    def __init__(self, encoder: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.encoder = encoder
        self.takes_mean = recipe.pooling == "mean"
        self.normalizes = recipe.normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, feature_dim)."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden: Tensor = output.last_hidden_state
        if self.takes_mean:
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        else:
            pooled = hidden[:, 0]
        return functional.normalize(pooled, dim=-1) if self.normalizes else pooled


class TextTower(nn.Module):
    """The text half of a CLIP model, or a CLIP model that has only this half."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tower: Any = model.text_model
        self.projection: Any = model.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, feature_dim), each of length 1."""
        output = self.tower(input_ids=input_ids, attention_mask=attention_mask)
        return functional.normalize(self.projection(output.pooler_output), dim=-1)


def sentence_encoder(model: Any, recipe: Recipe) -> tuple[nn.Module, Callable[..., ProgramOutput]]:
    """Module and original of an encoder; the original takes texts without padding."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # its output is not used, and its weights may be missing

    def original(input_ids: Tensor, attention_mask: Tensor) -> ProgramOutput:
        hidden = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        features = hidden.mean(dim=1) if recipe.pooling == "mean" else hidden[:, 0]
        if recipe.normalize:
            features = features / features.norm(dim=1, keepdim=True)
        return no_predictions(features), features

    return SentenceEncoder(model, recipe), original


def text_tower(model: Any) -> tuple[nn.Module, Callable[..., ProgramOutput]]:
    """Module and original of the text half of a CLIP model."""

    def original(input_ids: Tensor, attention_mask: Tensor) -> ProgramOutput:
        pixels = {}
        if hasattr(model, "vision_model"):
            size = model.config.vision_config.image_size
            channels = model.config.vision_config.num_channels
            pixels = {"pixel_values": torch.zeros(1, channels, size, size)}
        output = model(input_ids=input_ids, attention_mask=attention_mask, **pixels)
        features = functional.normalize(output.text_embeds, dim=-1)
        return no_predictions(features), features

    return TextTower(model), original


def text_subject(
    source: str,
    made: tuple[nn.Module, Callable[..., ProgramOutput]],
    tokenizer: Any,
    config: Any,
    recipe: Recipe,
) -> Subject:
    """The subject of a text model.

    made: module and original. tokenizer, config: the text model's, from transformers.

    Raises ExportError.
    """
    module, original = made
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ExportError(f"its {type(tokenizer).__name__} cannot be written as a tokenizer.json")
    max_tokens = recipe.max_tokens or min(
        tokenizer.model_max_length, _positions(config), MAX_TOKENS
    )

    def prepare(data: bytes) -> list[Tensor]:
        text = data.decode()
        if recipe.lowercase:
            text = text.lower()
        tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        return [tokens["input_ids"], tokens["attention_mask"]]

    # Two texts, the second padded; longer than one token, or torch would take the length as fixed.
    ids = prepare((" ".join(SAMPLES)).encode())[0][:, : min(8, max_tokens)]
    mask = torch.ones_like(ids).repeat(2, 1)
    mask[1, ids.shape[1] // 2 + 1 :] = 0
    free = {0: "batch", 1: "tokens"}
    return Subject(
        source=source,
        module=module,
        original=original,
        prepare=prepare,
        example=(ids.repeat(2, 1), mask),
        free=(free, free),
        samples=[text.encode() for text in (*SAMPLES, "one more " * max_tokens)],
        conf={"input": "text", "tokenizer": "tokenizer.json", "max_tokens": str(max_tokens)},
        similarity=recipe.similarity,
        files={"tokenizer.json": _tokenizer_file(tokenizer, lowercase=recipe.lowercase)},
    )


def _tokenizer_file(tokenizer: Any, *, lowercase: bool) -> str:
    """The tokenizer with its padding token: masked, but some models derive positions from it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    if tokenizer.pad_token is not None:
        backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    if lowercase:
        others = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = Sequence([Lowercase(), *others])
    return str(backend.to_str())


def _positions(config: Any) -> int:
    positions: int = getattr(config, "max_position_embeddings", MAX_TOKENS)
    if config.model_type in PADDED_POSITIONS:
        positions -= config.pad_token_id + 1
    return positions
