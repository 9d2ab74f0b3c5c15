"""Texts: UTF-8 in, token numbers out, `(input_ids, attention_mask)` to the program.

Tokenized by the model's own tokenizer.json; cut at max_tokens; padded at the end, to the longest
of those that share a forward pass. Which texts share one is chosen so that short ones hardly pay
for long ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs.protocol import Undecodable

PASS_COST: Final = 64
"""What a forward pass costs beside its tokens, in tokens: a MiniLM's on two cores takes 2 ms,
and 30 microseconds for each token."""

CHARACTERS_PER_TOKEN: Final = 64
"""Of more characters than this for each of max_tokens, the rest is never looked at."""

PADDING_TOKENS: Final = ("[PAD]", "<pad>", "<|endoftext|>")

SAMPLES: Final = (
    "two texts",
    "of different lengths, so that the second one pads the first when they share a batch",
)


class TextInput:
    """The input kind `text`, as one model.conf configures it."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        """Raises ModelLoadError where there is no tokenizer, or max_tokens leaves no room."""
        try:
            self._tokenizer = Tokenizer.from_file(conf["tokenizer"])
        except Exception as error:  # tokenizers raises plain Exceptions
            raise ModelLoadError(f"tokenizer {conf['tokenizer']}: {error}") from error
        told = self._tokenizer.padding
        known = (self._tokenizer.token_to_id(token) for token in PADDING_TOKENS)
        self._padding = (
            told["pad_id"] if told else next((number for number in known if number is not None), 0)
        )
        self._tokenizer.no_padding()
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if conf["max_tokens"] <= special:
            raise ModelLoadError(
                f"max_tokens = {conf['max_tokens']} leaves no room for a text: the tokenizer adds "
                f"{special} tokens to each"
            )
        self._tokenizer.enable_truncation(conf["max_tokens"])
        how = json.dumps([self._tokenizer.to_str(), conf["max_tokens"]])
        self.decoding = hashlib.sha256(how.encode()).digest()  # a tokenizer has megabytes
        self._most_characters = conf["max_tokens"] * CHARACTERS_PER_TOKEN

    def decode(self, data: bytes) -> torch.Tensor:
        """int64, shape (tokens,)."""
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Undecodable(f"the text is not UTF-8: {error}") from error
        try:
            tokens = self._tokenizer.encode(text[: self._most_characters]).ids
        except Exception as error:  # plain ones: a word that a vocabulary cannot spell, for one
            raise Undecodable(f"the text {text[:40]!r} has no tokens: {error}") from error
        if not tokens:
            raise Undecodable(f"the text {text[:40]!r} has no tokens")
        return torch.tensor(tokens)

    def groups(self, items: Sequence[torch.Tensor]) -> list[list[int]]:
        """Texts of like lengths: the cheapest way to cut the sorted list, passes counted."""
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
        """Two arguments: input_ids and attention_mask, int64, shape (n, most tokens)."""
        tokens = torch.nn.utils.rnn.pad_sequence(
            [*items], batch_first=True, padding_value=self._padding
        )
        lengths = torch.tensor([len(item) for item in items])
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(torch.int64)
        return [tokens.to(device), mask.to(device)]

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """One pair, of different lengths."""
        yield [self.decode(text.encode()) for text in SAMPLES]
