"""What adds and imports have changed, as the server tells it of each item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

from euclidesdb._types import Embedding
from euclidesdb_protos.v1 import database_pb2 as pb

T = TypeVar("T")

Change: TypeAlias = Literal["added", "replaced", "unchanged"]

_CHANGES: Final[dict[int, Change]] = {
    pb.ITEM_CHANGE_ADDED: "added",
    pb.ITEM_CHANGE_REPLACED: "replaced",
    pb.ITEM_CHANGE_UNCHANGED: "unchanged",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many items were new, changed, and stored already as they were given.

    An older server does not tell: then all are 0.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0


class Embeddings(tuple[Embedding, ...]):
    """What `Client.add` returns: an embedding of each model that was written.

    change: "added": the item is new; "replaced": it was stored already, and has been changed;
        "unchanged": it was stored already as it was given. None if an older server does not tell.
    """

    change: Change | None

    def __new__(cls, embeddings: Iterable[Embedding], change: Change | None) -> Self:
        made = super().__new__(cls, embeddings)
        made.change = change
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (tuple(self), self.change)


class AddErrors(tuple[T, ...], Generic[T]):
    """The items of a bulk add that have an error, by position.

    changes: what has changed of the items that are on disk.
    """

    changes: Changes

    def __new__(cls, errors: Iterable[T], changes: Changes) -> Self:
        made = super().__new__(cls, errors)
        made.changes = changes
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (tuple(self), self.changes)


def change_of(number: int) -> Change | None:
    """The value of an ItemChange; None if it is not known."""
    return _CHANGES.get(number)


class ChangeCount:
    """Counts what has changed while items are being added."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def update(self, reply: pb.AddItemsReply | pb.AddVectorsReply | pb.ImportItemsReply) -> None:
        """Count the items of a call."""
        if isinstance(reply, pb.AddItemsReply):
            self._counts.update(item.change for item in reply.items)
        else:
            self._counts.update(reply.changes)

    def total(self) -> Changes:
        """All that have been counted."""
        return Changes(**{name: self._counts[number] for number, name in _CHANGES.items()})
