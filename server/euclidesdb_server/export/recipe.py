"""How vectors are made of a text's tokens, as the files of sentence-transformers say.

Those are modules.json, and beside it 1_Pooling/config.json and sentence_bert_config.json. Of a
checkpoint without them the mean over the tokens is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.utils.hub import cached_file

from euclidesdb_server.export.subject import ExportError, foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How vectors are made of a text. max_tokens: None: as the tokenizer and the model allow."""

    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = False
    max_tokens: int | None = None
    lowercase: bool = False


def read_recipe(source: str, pooling: Literal["mean", "cls"] | None) -> Recipe:
    """What the files of sentence-transformers say, where there are any. Raises ExportError.

    pooling: in place of theirs.
    """
    modules = _read_json(source, "modules.json")
    if modules is None:
        return Recipe(pooling=pooling or "mean")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ExportError(
            f"its modules.json says {', '.join(kinds)}; "
            "what can be exported is Transformer, Pooling, and perhaps Normalize"
        )
    if modules[0]["path"]:
        raise ExportError(f"its encoder is in the folder {modules[0]['path']!r}: export that")
    prompt = (_read_json(source, "config_sentence_transformers.json") or {}).get(
        "default_prompt_name"
    )
    if prompt:
        raise ExportError(f"it puts the prompt {prompt!r} before each text, which a worker cannot")
    told = _read_json(source, "sentence_bert_config.json") or {}
    pools = _read_json(source, f"{modules[1]['path']}/config.json")
    return Recipe(
        pooling=pooling or _pooling(pools or {}),
        normalize="Normalize" in kinds,
        max_tokens=told.get("max_seq_length"),
        lowercase=bool(told.get("do_lower_case")),
    )


def _pooling(told: Mapping[str, Any]) -> Literal["mean", "cls"]:
    modes = [told["pooling_mode"]] if "pooling_mode" in told else [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in told.items() if key.startswith("pooling_mode_") and value is True
    ]  # fmt: skip
    match modes:
        case ["mean" | "cls" as mode]:
            return mode
    raise ExportError(
        f"it pools by {', '.join(modes) or 'nothing'}; what can be exported is mean or cls "
        "(--pooling overrides)"
    )


def _read_json(source: str, name: str) -> Any:
    """A file of the checkpoint; None where it has none. Raises ExportError."""
    with foreign(f"cannot read its {name}"):
        file = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        return json.loads(Path(file).read_text(encoding="utf-8")) if file else None
