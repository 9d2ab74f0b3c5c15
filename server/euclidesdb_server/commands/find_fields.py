"""The fields of neighbors that `euclidesdb find` shows: attributes, and what models predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import euclidesdb
from euclidesdb_server.commands.shown_fields import ShownFields


class FoundFields:
    """names: of the fields that are wanted; none: all attributes.

    What models other than the one that is searched predict is not part of an answer, so items with
    such fields are read. One that has been removed since has none of them.
    """

    def __init__(
        self,
        client: euclidesdb.Client,
        names: Sequence[str],
        results: Mapping[str, euclidesdb.Neighbors],
    ) -> None:
        self.names = names
        named_with_dot = any("." in name for name in names)
        self._fields = ShownFields(names, client.models() if named_with_dot else ())
        self._items: Mapping[str, euclidesdb.Item] = {}
        if self._fields.of_predictions:
            ids = {each: None for found in results.values() for each in found.ids}
            self._items = dict(client.get_many(ids, include_predictions=True))

    def values(self, neighbor: euclidesdb.Neighbor) -> dict[str, Any]:
        """The values of the named fields; None for what the item does not have."""
        item = self._items.get(neighbor.id)
        return self._fields.of(neighbor.attributes or {}, item.embeddings if item else ())

    def columns(self, neighbors: Iterable[euclidesdb.Neighbor]) -> list[str]:
        """The names of the fields of a table: all attributes if none are named."""
        if self.names:
            return [*self.names]
        return [*dict.fromkeys(name for each in neighbors for name in each.attributes or ())]
