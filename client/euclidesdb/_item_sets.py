"""What `get_many` and `remove_many` return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from euclidesdb._errors import Refused
from euclidesdb._types import Item


class Items(Mapping[str, Item]):
    """The items that `get_many` has found, by id, in the order in which they were asked for.

    missing: the ids that are not stored. refused: those that could not be read; looking one up
    raises the error that `get` would have raised.

    Items compare by identity, as each `Item` does.
    """

    __slots__ = ("_found", "missing", "refused")

    def __init__(
        self, found: Mapping[str, Item], missing: tuple[str, ...], refused: tuple[Refused, ...]
    ) -> None:
        self._found = found
        self.missing = missing
        self.refused = refused

    def __getitem__(self, id: str) -> Item:  # noqa: A002  the API's name for it
        if id not in self._found:
            for refused in self.refused:
                if refused.id == id:
                    raise refused.error
        return self._found[id]

    def __contains__(self, id: object) -> bool:  # noqa: A002  as above
        return id in self._found  # Mapping's own looks the id up, which may raise

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Items({len(self)} found, {len(self.missing)} missing, {len(self.refused)} refused)"


@dataclass(frozen=True, slots=True)
class Removal:
    """What `remove_many` did, or would do.

    removed: the number of items removed. missing: the ids that were not stored. refused: the items
    that are still there, each with the error that `remove` would have raised.
    """

    removed: int
    missing: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
