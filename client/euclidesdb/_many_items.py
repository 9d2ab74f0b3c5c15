"""Many stored items, got or removed in calls of bounded size, and what changes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb._checks import ItemId
from euclidesdb._connection import Connection
from euclidesdb._errors import Refused, ReplyTooLarge, ServerError, WriteInDoubt
from euclidesdb._field_warnings import warned
from euclidesdb._filters import filter_message
from euclidesdb._item_sets import Items, Removal
from euclidesdb._query_types import Filter
from euclidesdb._request_keys import request_key_of
from euclidesdb._translation import refusal_error
from euclidesdb._types import Item
from euclidesdb_protos.v1 import database_pb2 as pb

ITEMS_PER_GET: Final = 1024
PAYLOADS_PER_GET: Final = 64
"""A call whose reply would be too large nevertheless is split."""
ITEMS_PER_REMOVE: Final = 10_000


def update_request(
    item_id: ItemId,
    attributes: Mapping[str, Any] | None,
    merge: Mapping[str, Any] | None,
    remove: Sequence[str],
    *,
    metadata: bytes | None,
    request_key: bytes | None,
) -> pb.UpdateItemRequest:
    """The message for a change of an item. Raises TypeError or ValueError if there is none."""
    request = pb.UpdateItemRequest(
        id=checks.item_id("id", item_id),
        remove_attributes=checks.names("remove", remove),
        request_key=request_key_of(request_key),
    )
    if attributes is not None and (merge is not None or request.remove_attributes):
        raise ValueError(
            "give attributes, which replaces all, or merge and remove, which change some, not both"
        )
    if attributes is not None:
        name = f"attributes of {item_id!r}"
        request.attributes_json = checks.attributes_json(name, attributes)
    if merge is not None:
        request.merge_json = checks.attributes_json(f"merge of {item_id!r}", merge)
    if metadata is not None:
        request.metadata = checks.opaque(f"metadata of {item_id!r}", metadata)
    elif attributes is None and merge is None and not request.remove_attributes:
        raise ValueError("nothing to change: give attributes, merge, remove or metadata")
    return request


async def get_many(
    connection: Connection,
    ids: Iterable[ItemId],
    include: Mapping[str, bool],
    timeout: float | None,
) -> Items:
    """The items with these ids. include: the flags of the request. timeout: of each call."""
    places = _places(ids)
    include = {name: checks.flag(name, value) for name, value in include.items()}
    limit = PAYLOADS_PER_GET if include["include_payload"] else ITEMS_PER_GET
    waiting = [*_parts([*places], limit)][::-1]
    found, missing, refused = dict[str, Item](), list[str](), list[Refused]()
    while waiting:
        part = waiting.pop()
        request = pb.GetItemsRequest(ids=part, **include)
        try:
            reply: pb.GetItemsReply = await connection.call("GetItems", request, timeout)
        except ReplyTooLarge as error:
            if len(part) == 1:
                refused.append(Refused(places[part[0]], part[0], error))
            else:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        refusals = _refused(reply, part, places)
        absent = {part[position] for position in reply.missing}
        others = absent | {each.id for each in refusals}
        stored = [item_id for item_id in part if item_id not in others]
        if len(stored) != len(reply.items):
            raise ServerError(f"the reply has {len(reply.items)} items for {len(stored)} ids")
        with_states = include["include_states"]
        items = [replies.item(item, with_states=with_states) for item in reply.items]
        found.update(zip(stored, items, strict=True))
        missing += [item_id for item_id in part if item_id in absent]
        refused += refusals
    return Items(found, tuple(missing), tuple(refused))


async def remove_many(
    connection: Connection, ids: Iterable[ItemId], *, dry_run: bool, timeout: float | None
) -> Removal:
    """Remove the items with these ids. timeout: of each call. Raises WriteInDoubt."""
    places = _places(ids)
    dry_run = checks.flag("dry_run", dry_run)
    removed, missing, refused = 0, list[str](), list[Refused]()
    for part in _parts([*places], ITEMS_PER_REMOVE):
        key = b"" if dry_run else request_key_of(None)
        request = pb.RemoveItemsRequest(ids=part, dry_run=dry_run, request_key=key)
        reply: pb.RemoveItemsReply = await connection.call("RemoveItems", request, timeout)
        refusals = _refused(reply, part, places)
        for each in refusals:
            if isinstance(each.error, WriteInDoubt):
                raise each.error
        removed += reply.removed
        missing += [part[position] for position in reply.missing]
        refused += refusals
    return Removal(removed, tuple(missing), tuple(refused))


async def remove_matching(
    connection: Connection, condition: Filter, *, dry_run: bool, timeout: float | None
) -> Removal:
    """Remove the items that match a filter. timeout: of the call. Raises WriteInDoubt."""
    if not condition:
        raise ValueError(
            "the filter is empty, and would remove every item; if that is what you want, give "
            "{'$id': {'$exists': True}}"
        )
    request = pb.RemoveItemsRequest(
        filter=filter_message(condition), dry_run=checks.flag("dry_run", dry_run)
    )
    reply: pb.RemoveItemsReply = await connection.call("RemoveItems", request, timeout)
    return Removal(warned(reply).removed)


async def exists(connection: Connection, item_id: ItemId, timeout: float | None) -> bool:
    """Whether an item is stored. Raises the error of one that cannot be read."""
    part = [checks.item_id("id", item_id)]
    request = pb.GetItemsRequest(ids=part)
    reply: pb.GetItemsReply = await connection.call("GetItems", request, timeout)
    for refused in _refused(reply, part, {part[0]: 0}):
        raise refused.error
    return not reply.missing


def _places(ids: Iterable[ItemId]) -> dict[str, int]:
    """Each id once, in order, with the first of its positions."""
    places: dict[str, int] = {}
    for position, item_id in enumerate(checks.item_ids("ids", ids)):
        places.setdefault(item_id, position)
    return places


def _parts(ids: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + limit] for start in range(0, len(ids), limit))


def _refused(
    reply: pb.GetItemsReply | pb.RemoveItemsReply, part: Sequence[str], places: Mapping[str, int]
) -> list[Refused]:
    """The refusals in a reply. Raises ServerError if it does not match the ids of its call."""
    positions = [*reply.missing, *(refusal.position for refusal in reply.refused)]
    if odd := [position for position in positions if not 0 <= position < len(part)]:
        raise ServerError(f"the reply names item {odd[0]} of {len(part)}")
    return [
        Refused(places[part[each.position]], part[each.position], refusal_error(each))
        for each in reply.refused
    ]
