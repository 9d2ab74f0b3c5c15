"""What `get_many` and `remove_many` return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from euclidesdb import _checks as checks
from euclidesdb._checks import ItemId
from euclidesdb._errors import Refused
from euclidesdb._printing import items_text
from euclidesdb._result_tables import item_columns
from euclidesdb._tables import Column, Tabular
from euclidesdb._types import Item


class Items(Mapping[str, Item], Tabular):
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

    def __getitem__(self, id: ItemId) -> Item:  # noqa: A002  the API's name for it
        id = checks.shown_id(id)  # noqa: A001  the API's name for it
        if id not in self._found:
            for refused in self.refused:
                if refused.id == id:
                    raise refused.error
        return self._found[id]

    def __contains__(self, id: object) -> bool:  # noqa: A002  as above
        # Mapping's own looks the id up, which may raise
        return checks.shown_id(id) in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return items_text(self._head(), [*self.values()])

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import items_html  # noqa: PLC0415  in notebooks alone

        return items_html(self._head(), [*self.values()])

    def _head(self) -> str:
        found = f"{len(self):,} items"
        missing = f", {len(self.missing):,} missing" * bool(self.missing)
        refused = f", {len(self.refused):,} refused" * bool(self.refused)
        return f"{found}{missing}{refused}"

    def _table(self) -> list[Column]:
        return item_columns([*self.values()])


@dataclass(frozen=True, slots=True)
class Removal:
    """What `remove_many` did, or would do.

    removed: the number of items removed. missing: the ids that were not stored. refused: the items
    that are still there, each with the error that `remove` would have raised.
    """

    removed: int
    missing: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
