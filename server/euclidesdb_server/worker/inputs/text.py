"""Texts: UTF-8 becomes token ids, and the program takes `(input_ids, attention_mask)`.

Texts are tokenized by the model's own tokenizer.json, truncated at max_tokens, and padded at the
end to the longest text of the forward pass. Texts of similar length share a forward pass, so that
short ones cost little padding. Empty and blank texts, which would all have the same vector, are
refused unless model.conf allows them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs.protocol import Undecodable

PASS_COST: Final = 64
"""The fixed cost of a forward pass, in tokens: a MiniLM's on two cores takes 2 ms, plus 30
microseconds per token."""

CHARACTERS_PER_TOKEN: Final = 64
"""A long text is tokenized from its start, at first max_tokens times this, then GROWTH times as
much, until it has more tokens than are kept."""
GROWTH: Final = 4
MAX_CHARACTERS: Final = 1 << 20
"""A text that has too few tokens in its first million characters (or CHARACTERS_PER_TOKEN of
max_tokens, if that is more) is refused: a million blanks take 1.6 s."""

PADDING_TOKENS: Final = ("[PAD]", "<pad>", "<|endoftext|>")

SAMPLES: Final = (
    "two texts",
    "of different lengths, so that the second one pads the first when they share a batch",
)


class TextInput:
    """The input kind `text`, with the settings of one model."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises ModelLoadError if the tokenizer cannot be read, or max_tokens is too small."""
        path, max_tokens = settings["tokenizer"], settings["max_tokens"]
        try:
            self._tokenizer = Tokenizer.from_file(path)
        except Exception as error:  # tokenizers raises plain Exceptions
            raise ModelLoadError(f"tokenizer {path}: {error}") from error
        self._padding = _padding_id(self._tokenizer)
        self._tokenizer.no_padding()
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if max_tokens <= special:
            raise ModelLoadError(
                f"max_tokens = {max_tokens} leaves no room for a text: the tokenizer adds "
                f"{special} tokens to each"
            )
        self._tokenizer.enable_truncation(max_tokens)
        identity = json.dumps([self._tokenizer.to_str(), max_tokens])
        self.decoding = hashlib.sha256(identity.encode()).digest()  # a tokenizer has megabytes
        self._first_characters = max_tokens * CHARACTERS_PER_TOKEN
        self._empty: list[int] | None = None
        if not settings.get("allow_blank"):
            self._empty = self._tokenizer.encode("").ids
            self.decoding += b"not blank"

    def decode(self, data: bytes) -> torch.Tensor:
        """int64, shape (tokens,)."""
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Undecodable(f"the text is not UTF-8: {error}") from error
        if self._empty is not None and (not text or text.isspace()):
            raise Undecodable(f"the text {text[:40]!r} is empty or blank")
        try:
            tokens = self._tokens(text)
        except Undecodable:
            raise
        except Exception as error:  # plain ones, for example for a word outside the vocabulary
            raise Undecodable(f"the text {text[:40]!r} has no tokens: {error}") from error
        if not tokens or tokens == self._empty:
            raise Undecodable(f"the text {text[:40]!r} has no tokens")
        return torch.tensor(tokens)

    def _tokens(self, text: str) -> list[int]:
        """The tokens that are kept, as if the whole text were tokenized. Raises Undecodable."""
        stop = self._first_characters
        while True:
            encoding = self._tokenizer.encode(text[:stop])
            tokens: list[int] = encoding.ids
            if stop >= len(text) or _ends_in_an_earlier_word(encoding):
                return tokens
            if stop >= MAX_CHARACTERS:
                raise Undecodable(
                    f"the text {text[:40]!r} has only {len(tokens)} tokens in its first {stop} "
                    f"characters of {len(text)}"
                )
            stop *= GROWTH

    def groups(self, items: Sequence[torch.Tensor]) -> list[list[int]]:
        """Texts of similar length: the partition of the sorted texts with the lowest total cost."""
        lengths = np.array([len(item) for item in items])
        order = np.argsort(lengths, kind="stable")
        lengths = lengths[order]
        cheapest = np.zeros(len(items) + 1)
        begins = np.zeros(len(items) + 1, np.intp)
        for stop in range(1, len(items) + 1):
            padded = np.arange(stop, 0, -1) * lengths[stop - 1]
            costs = cheapest[:stop] + padded + PASS_COST
            begins[stop] = np.argmin(costs)
            cheapest[stop] = costs[begins[stop]]
        groups: list[list[int]] = []
        stop = len(items)
        while stop:
            groups.append(order[begins[stop] : stop].tolist())
            stop = int(begins[stop])
        return groups

    def collate(self, items: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        """Two arguments: input_ids and attention_mask, int64, shape (n, tokens of the longest)."""
        tokens = torch.nn.utils.rnn.pad_sequence(
            [*items], batch_first=True, padding_value=self._padding
        )
        lengths = torch.tensor([len(item) for item in items])
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(torch.int64)
        return [tokens.to(device), mask.to(device)]

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """One pair, of different lengths."""
        yield [self.decode(text.encode()) for text in SAMPLES]


def _ends_in_an_earlier_word(encoding: Encoding) -> bool:
    """Whether the kept tokens end in a word before the last, which may have been cut."""
    if not encoding.overflowing:
        return False
    kept, last = (
        max((word for word in part.word_ids if word is not None), default=-1)
        for part in (encoding, encoding.overflowing[-1])
    )
    return kept < last


def _padding_id(tokenizer: Tokenizer) -> int:
    """The id of the padding token: as tokenizer.json sets it, else by a usual name, else 0."""
    configured = tokenizer.padding
    if configured:
        return int(configured["pad_id"])
    known = (tokenizer.token_to_id(token) for token in PADDING_TOKENS)
    return next((number for number in known if number is not None), 0)
