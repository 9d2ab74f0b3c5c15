"""The operations that ask for items by what they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb._connection import Connection
from euclidesdb._errors import ReplyTooLarge
from euclidesdb._field_warnings import warned
from euclidesdb._filters import filter_message
from euclidesdb._lists import ItemList
from euclidesdb._operation import iteration, operation
from euclidesdb._query_types import Filter
from euclidesdb._states import set_state
from euclidesdb._summary_types import (
    CountsByField,
    NumbersByField,
    NumberSummary,
    Page,
    Summary,
    ValueCounts,
)
from euclidesdb._types import Item
from euclidesdb_protos.v1 import database_pb2 as pb

PAGE_SIZE = 1000


class ItemQueries:
    """A part of both clients, which have the connection."""

    _connection: Connection

    @operation
    async def count(
        self,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        state: str | None = None,
        model: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Count the items that match a filter, or all. Raises ValueError, InvalidRequest.

        state, model: as in `page`.
        """
        return await counted(self._connection, filter, timeout, state=state, model=model)

    @operation
    async def page(
        self,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        order_by: str | None = None,
        descending: bool = False,
        state: str | None = None,
        model: str | None = None,
        page_size: int = 100,
        page: str | None = None,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        timeout: float | None = None,
    ) -> Page:
        """Return a page of the items that match a filter, or of all.

        order_by: a field: "price", "digits.confidence"; None: in the order in which the items were
            first added. Numbers come before strings, these before booleans, and items without the
            field last.
        state: only items in this state in a model: "done" (it has features of the version in
            service), "failed" (that version failed on it), "superseded" (it has features of other
            versions alone) or "missing". model: the model; None: any of those served now.
        page: `next_page` of the page before; everything else must stay the same.

        Items that are stored from the first page to the last are on exactly one of them, whatever
        else is written meanwhile, unless what they are ordered by changes.
        Raises ValueError, InvalidRequest, ReplyTooLarge.
        """
        request = _page_request(
            filter,
            order_by,
            descending=descending,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            include_payload=include_payload,
            include_states=include_states,
        )
        set_state(request, state, model)
        request.page_size = checks.int32("page_size", page_size)
        request.page_token = "" if page is None else checks.text("page", page)
        connection = self._connection
        return await _page(connection, request, connection.call_timeout(timeout))

    @iteration
    def items(
        self,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        order_by: str | None = None,
        descending: bool = False,
        state: str | None = None,
        model: str | None = None,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        include_states: bool = False,
        page_size: int = PAGE_SIZE,
        timeout: float | None = None,
    ) -> AsyncGenerator[Item, None]:
        """Yield the items that match a filter, or all, however many they are.

        They are fetched a page at a time; the arguments are those of `page`. A page whose items
        would be too large for one reply is fetched in parts.

            for item in db.items({"price": {"$lt": 10}}, order_by="price"):
                print(item.id, item.attributes)
        """
        request = _page_request(
            filter,
            order_by,
            descending=descending,
            include_vectors=include_vectors,
            include_predictions=include_predictions,
            include_payload=include_payload,
            include_states=include_states,
        )
        set_state(request, state, model)
        request.page_size = checks.int32("page_size", page_size)
        connection = self._connection
        return _all_items(connection, request, connection.call_timeout(timeout))

    @operation
    async def sample(
        self,
        count: int,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        seed: int | None = None,
        stratify_by: str | None = None,
        include_vectors: bool = False,
        include_predictions: bool = False,
        include_payload: bool = False,
        timeout: float | None = None,
    ) -> ItemList:
        """Draw `count` items at random from those that match a filter, or from all.

        seed: the same seed draws the same of the same items; None: others each time.
        stratify_by: a field: draw `count` items of each of its values.

        Raises ValueError, InvalidRequest, ReplyTooLarge.
        """
        request = pb.SampleItemsRequest(
            count=checks.int32("count", count),
            seed=None if seed is None else checks.int64("seed", seed),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
            include_payload=checks.flag("include_payload", include_payload),
        )
        _set_filter(request, filter)
        if stratify_by is not None:
            request.stratify_by.name = checks.text("stratify_by", stratify_by)
        connection = self._connection
        reply: pb.SampleItemsReply = await connection.call(
            "SampleItems", request, connection.call_timeout(timeout)
        )
        return ItemList(map(replies.item, warned(reply).items))

    @operation
    async def summarize(
        self,
        filter: Filter | None = None,  # noqa: A002  the API's name for it
        *,
        count_by: Sequence[str] = (),
        numbers: Sequence[str] = (),
        max_values: int = 100,
        timeout: float | None = None,
    ) -> Summary:
        """Count the items that match a filter, or all, by the values of fields.

        count_by: fields: "color", "digits.label"; the `max_values` most frequent values of each.
        numbers: fields whose numbers are summarized.

            print(db.summarize(count_by=["digits.label"]).counts["digits.label"])

        Raises ValueError, InvalidRequest.
        """
        counted = checks.names("count_by", count_by)
        summarized = checks.names("numbers", numbers)
        request = pb.SummarizeItemsRequest(
            count_by=[pb.Field(name=name) for name in counted],
            numbers=[pb.Field(name=name) for name in summarized],
            max_values=checks.int32("max_values", max_values),
        )
        _set_filter(request, filter)
        connection = self._connection
        reply: pb.SummarizeItemsReply = await connection.call(
            "SummarizeItems", request, connection.call_timeout(timeout)
        )
        return Summary(
            warned(reply).count,
            CountsByField(zip(counted, map(_value_counts, reply.counts), strict=True)),
            NumbersByField(zip(summarized, map(_number_summary, reply.summaries), strict=True)),
        )


def _page_request(
    filter: Filter | None,  # noqa: A002  as above
    order_by: str | None,
    *,
    descending: bool,
    include_vectors: bool,
    include_predictions: bool,
    include_payload: bool,
    include_states: bool,
) -> pb.ListItemsRequest:
    """A request without the size of a page, and for the first one."""
    request = pb.ListItemsRequest(
        include_vectors=checks.flag("include_vectors", include_vectors),
        include_predictions=checks.flag("include_predictions", include_predictions),
        include_payload=checks.flag("include_payload", include_payload),
        include_states=checks.flag("include_states", include_states),
    )
    _set_filter(request, filter)
    request.order.descending = checks.flag("descending", descending)
    if order_by is not None:
        request.order.field.name = checks.text("order_by", order_by)
    return request


async def _page(
    connection: Connection, request: pb.ListItemsRequest, timeout: float | None
) -> Page:
    reply: pb.ListItemsReply = await connection.call("ListItems", request, timeout)
    items = (replies.item(item, with_states=request.include_states) for item in warned(reply).items)
    return Page(tuple(items), reply.next_page_token or None)


async def _all_items(
    connection: Connection, request: pb.ListItemsRequest, timeout: float | None
) -> AsyncGenerator[Item, None]:
    while True:
        try:
            found = await _page(connection, request, timeout)
        except ReplyTooLarge:
            if request.page_size == 1:
                raise
            request.page_size = max(1, request.page_size // 2)
            continue
        for item in found:
            yield item
        if found.next_page is None:
            return
        request.page_token = found.next_page


async def counted(
    connection: Connection,
    filter: Filter | None,  # noqa: A002  as above
    timeout: float | None,
    *,
    state: str | None = None,
    model: str | None = None,
) -> int:
    """As `Client.count`."""
    request = pb.CountItemsRequest()
    _set_filter(request, filter)
    set_state(request, state, model)
    reply: pb.CountItemsReply = await connection.call(
        "CountItems", request, connection.call_timeout(timeout)
    )
    return warned(reply).count


def _set_filter(request: Any, filter: Filter | None) -> None:  # noqa: A002  as above
    if filter is not None:
        request.filter.CopyFrom(filter_message(filter))


def _value_counts(message: pb.ValueCounts) -> ValueCounts:
    values = [getattr(value, value.WhichOneof("kind")) for value in message.values]
    return ValueCounts(
        tuple(zip(values, message.counts, strict=True)), message.other, message.missing
    )


def _number_summary(message: pb.NumberSummary) -> NumberSummary:
    if not message.count:
        return NumberSummary(0)
    return NumberSummary(
        message.count,
        message.min,
        message.max,
        message.mean,
        message.standard_deviation,
        message.median,
    )
