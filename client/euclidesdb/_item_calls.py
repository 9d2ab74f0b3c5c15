"""`ItemCalls`: the operations that get, change and remove stored items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from euclidesdb import _checks as checks
from euclidesdb import _many_items as many_items
from euclidesdb import _replies as replies
from euclidesdb._checks import ItemId
from euclidesdb._connection import Connection
from euclidesdb._item_sets import Items, Removal
from euclidesdb._operation import operation
from euclidesdb._query_types import Filter
from euclidesdb._request_keys import request_key_of
from euclidesdb._types import Item
from euclidesdb_protos.v1 import database_pb2 as pb


class ItemCalls:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def get(
        self,
        id: ItemId,  # noqa: A002  the API's name for it
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        timeout: float | None = None,
    ) -> Item:
        """Return a stored item. Raises UnknownItem, CorruptRecord.

        include_states: also its state in each model: whether there are features, and if not, why.
        """
        request = pb.GetItemRequest(
            id=checks.item_id("id", id),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
            include_payload=checks.flag("include_payload", include_payload),
            include_states=checks.flag("include_states", include_states),
        )
        connection = self._connection
        reply: pb.GetItemReply = await connection.call(
            "GetItem", request, connection.call_timeout(timeout)
        )
        return replies.item(reply.item, with_states=include_states)

    @operation
    async def get_many(
        self,
        ids: Iterable[ItemId],
        *,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        timeout: float | None = None,
    ) -> Items:
        """Return many stored items, by id, in the order of `ids`; an id given twice counts once.

        Ids that are not stored are left out, and listed in `missing`. An item that cannot be read
        (CorruptRecord, or ReplyTooLarge for one that is too large alone) is listed in `refused`.

        timeout: seconds for each call of at most 1,024 items, or 64 with their payload; None: ten
            times the client's. The items of one call are of one moment.
        """
        include = {
            "include_vectors": include_vectors,
            "include_predictions": include_predictions,
            "include_payload": include_payload,
            "include_states": include_states,
        }
        connection = self._connection
        return await many_items.get_many(connection, ids, include, connection.bulk_timeout(timeout))

    @operation
    async def exists(self, id: ItemId, *, timeout: float | None = None) -> bool:  # noqa: A002  as above
        """Whether an item is stored. Raises CorruptRecord if its record cannot be read."""
        connection = self._connection
        return await many_items.exists(connection, id, connection.call_timeout(timeout))

    @operation
    async def update(
        self,
        id: ItemId,  # noqa: A002  the API's name for it
        *,
        attributes: Mapping[str, Any] | None = None,
        merge: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        metadata: bytes | None = None,
        request_key: bytes | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Change the attributes or the metadata of a stored item; returns its attributes then.

        Its vectors and its image, text or tensor stay, and no model is run. When this returns, the
        change is on disk.

        attributes: replaces all attributes. Instead of it, or not at all:
        remove: names of attributes to remove, in nested objects with dots ("size.width"); those
            that the item does not have are ignored.
        merge: attributes to set after that. Nested mappings are merged in turn, and None removes an
            attribute (RFC 7396). Of two merges at once, both survive.
        metadata: replaces the stored bytes.
        request_key: as in `add`.

        After Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have been applied.
        Raises UnknownItem, CorruptRecord, DiskFull, WriteInDoubt; InvalidRequest if the attributes
        would be too large.
        """
        request = many_items.update_request(
            id, attributes, merge, remove, metadata=metadata, request_key=request_key
        )
        connection = self._connection
        reply: pb.UpdateItemReply = await connection.call(
            "UpdateItem", request, connection.call_timeout(timeout)
        )
        return dict(replies.parsed_attributes(reply.attributes_json))

    @operation
    async def remove(
        self,
        id: ItemId,  # noqa: A002  as above
        *,
        request_key: bytes | None = None,
        timeout: float | None = None,
    ) -> None:
        """Remove an item from the database and from all later search results. Raises UnknownItem.

        request_key: as in `add`.
        After Unavailable, DeadlineExceeded, Cancelled or WriteInDoubt it may have been applied; if
        it is called again then, UnknownItem means that it was.
        """
        key = request_key_of(request_key)
        request = pb.RemoveItemRequest(id=checks.item_id("id", id), request_key=key)
        connection = self._connection
        await connection.call("RemoveItem", request, connection.call_timeout(timeout))

    @operation
    async def remove_many(
        self,
        ids: Iterable[ItemId] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Removal:
        """Remove many items, each as `remove` would: those with some ids, or that match a filter.

        ids: an id given twice counts once. filter: one that is written meanwhile is removed if it
        matches then. Give one of both.
        dry_run: remove nothing, and return what would be removed.
        timeout: seconds for each call of at most 10,000 items; None: ten times the client's.

        Retried after a lost reply: by id, no item that another client has added since is removed,
        and those that the first attempt removed are counted; by filter, the number is that of the
        last attempt. If a call fails as a whole, or the removal of an item is in doubt
        (WriteInDoubt), some items are removed, and others are not: repeat it, and those that were
        removed are among the missing.
        """
        connection = self._connection
        seconds = connection.bulk_timeout(timeout)
        if ids is not None and filter is None:
            return await many_items.remove_many(connection, ids, dry_run=dry_run, timeout=seconds)
        if ids is None and filter is not None:
            return await many_items.remove_matching(
                connection, filter, dry_run=dry_run, timeout=seconds
            )
        raise ValueError("give either ids or filter")
