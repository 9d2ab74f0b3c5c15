"""The interface of an input kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch


class Undecodable(Exception):
    """The bytes are not what this kind of input promises; the message says why."""


class InputKind(Protocol):
    """Decodes items and batches them for a forward pass. Thread-safe.

    A class of this kind is made with the settings that `make_input` gets.
    """

    @property
    def decoding(self) -> bytes:
        """Identifies the settings that affect `decode`: equal bytes, decoded with equal settings,
        give equal tensors.
        """

    def decode(self, data: bytes) -> torch.Tensor:
        """One item, without a batch dimension. Raises Undecodable."""

    def groups(self, items: Sequence[torch.Tensor]) -> list[list[int]]:
        """Which items share a forward pass, by position; each item is in one group."""

    def collate(self, items: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        """A group of items as the program's arguments on `device`, batch dimension first."""

    def samples(self) -> Iterator[list[torch.Tensor]]:
        """Pairs of different items of one group, as `decode` would return them, for the load
        check: the program must take one of these pairs.
        """


def groups_of_one_shape(items: Sequence[torch.Tensor]) -> list[list[int]]:
    """As `InputKind.groups`, if only items of equal shape can share a forward pass."""
    groups: dict[torch.Size, list[int]] = {}
    for position, item in enumerate(items):
        groups.setdefault(item.shape, []).append(position)
    return [*groups.values()]
