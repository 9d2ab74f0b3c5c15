"""The contract of a kind of input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch


class Undecodable(Exception):
    """The bytes are not what this kind of input promises; the message says why."""


class InputKind(Protocol):
    """Decodes items and puts them together for a forward pass. Thread-safe."""

    def decode(self, data: bytes) -> torch.Tensor:
        """One item, without a batch dimension. Raises Undecodable."""

    def collate(self, items: Sequence[torch.Tensor]) -> torch.Tensor:
        """Items of equal shape as the program's argument, batch dimension first."""

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """Pairs of different items of equal shape, as `decode` would give them, for the load
        check: the program must take one of these pairs.
        """
