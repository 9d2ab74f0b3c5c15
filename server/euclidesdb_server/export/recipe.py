"""How a text model turns tokens into a vector, read from the files of sentence-transformers.

These are modules.json, 1_Pooling/config.json, sentence_bert_config.json and
config_sentence_transformers.json. A checkpoint without them pools by the mean over the tokens, and
declares no metric.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.utils.hub import cached_file

from euclidesdb_server.export.similarity import (
    AGREE_AT_LENGTH_1,
    DEFAULT,
    SIMILARITIES,
    UNDECLARED,
    UNIT_LENGTH,
    Similarity,
)
from euclidesdb_server.export.subject import ExportError, foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a text becomes a vector. max_tokens: None: the limit of the tokenizer and the model."""

    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = False
    max_tokens: int | None = None
    lowercase: bool = False
    similarity: Similarity = UNDECLARED


def read_recipe(source: str, pooling: Literal["mean", "cls"] | None) -> Recipe:
    """The recipe in a checkpoint's files, if it has any. Raises ExportError.

    pooling: overrides that of the files.
    """
    modules = _read_json(source, "modules.json")
    if modules is None:
        return Recipe(pooling=pooling or "mean")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ExportError(
            f"its modules.json lists {', '.join(kinds)}; "
            "supported are Transformer, Pooling and optionally Normalize"
        )
    if modules[0]["path"]:
        raise ExportError(
            f"its encoder is in the folder {modules[0]['path']!r}; export that folder"
        )
    declared = _read_json(source, "config_sentence_transformers.json") or {}
    prompt = declared.get("default_prompt_name")
    if prompt:
        raise ExportError(
            f"it puts the prompt {prompt!r} before each text, which a worker does not support"
        )
    settings = _read_json(source, "sentence_bert_config.json") or {}
    pools = _read_json(source, f"{modules[1]['path']}/config.json")
    return Recipe(
        pooling=pooling or _pooling(pools or {}),
        normalize="Normalize" in kinds,
        max_tokens=settings.get("max_seq_length"),
        lowercase=bool(settings.get("do_lower_case")),
        similarity=_similarity(declared, normalizes="Normalize" in kinds),
    )


def _similarity(declared: Mapping[str, Any], *, normalizes: bool) -> Similarity:
    name = declared.get("similarity_fn_name") or DEFAULT
    if name not in SIMILARITIES:
        raise ExportError(
            f"it compares vectors by {name!r}; supported are {', '.join(SIMILARITIES)}"
        )
    return UNIT_LENGTH if normalizes and name in AGREE_AT_LENGTH_1 else SIMILARITIES[name]


def _pooling(config: Mapping[str, Any]) -> Literal["mean", "cls"]:
    modes = [config["pooling_mode"]] if "pooling_mode" in config else [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items() if key.startswith("pooling_mode_") and value is True
    ]  # fmt: skip
    match modes:
        case ["mean" | "cls" as mode]:
            return mode
    raise ExportError(
        f"its pooling is {', '.join(modes) or 'none'}; supported are mean and cls "
        "(--pooling overrides it)"
    )


def _read_json(source: str, name: str) -> Any:
    """A file of the checkpoint, or None if it has no such file. Raises ExportError."""
    with foreign(f"cannot read its {name}"):
        file = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        return json.loads(Path(file).read_text(encoding="utf-8")) if file else None
