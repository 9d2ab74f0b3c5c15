"""Texts: how a text becomes the tokens that a program takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.values.payload import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConf(ProgramConf):
    """Section [model] of a model that takes texts, as `(input_ids, attention_mask)`."""

    input: Literal["text"]
    tokenizer: Path = Path("tokenizer.json")
    """A file of the tokenizers library, in the model folder."""
    max_tokens: Annotated[int, Ge(1), Le(1 << 20)] = 512
    """A longer text is truncated."""
    allow_blank: bool = False
    """Whether empty and blank texts are embedded, all alike. It changes no vector of another text,
    so it is not part of the version."""

    @property
    def item_cost(self) -> Callable[[Payload], int]:
        """The length of the text: a batch is padded to its longest one."""
        return _length

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`."""
        try:
            with self.tokenizer.open("rb") as stream:
                tokenizer = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ModelLoadError(f"tokenizer: cannot read {self.tokenizer}: {error}") from error
        return {
            "input": self.input,
            "tokenizer": tokenizer,
            "max_tokens": self.max_tokens,
            **ProgramConf.preprocessing(self),
        }


def _length(payload: Payload) -> int:
    return len(payload.data)
