"""The methods of `Client` that ask for items by what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from euclidesdb import _checks as checks
from euclidesdb import _replies as replies
from euclidesdb._connection import Connection
from euclidesdb._errors import ReplyTooLarge
from euclidesdb._filters import filter_message
from euclidesdb._query_types import Filter
from euclidesdb._states import set_state
from euclidesdb._summary_types import NumberSummary, Page, Summary, ValueCounts
from euclidesdb._types import Item
from euclidesdb_protos.v1 import database_pb2 as pb

PAGE_SIZE = 1000


class ItemQueries:
    """Base of `Client`, which has the connection."""

    _connection: Connection

    def count(
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
        request = pb.CountItemsRequest()
        _set_filter(request, filter)
        set_state(request, state, model)
        connection = self._connection
        reply: pb.CountItemsReply = connection.call(
            connection.stub.CountItems, request, connection.call_timeout(timeout)
        )
        return reply.count

    def page(
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
            versions alone) or "missing". In a filter it is `digits.state`.
        model: the model; None: any of those served now.
        page: `next_page` of the page before; everything else must stay the same.

        Items that are stored from the first page to the last are on exactly one of them, whatever
        else is written meanwhile, unless what they are ordered by changes.
        Raises ValueError, InvalidRequest, ReplyTooLarge.
        """
        request = pb.ListItemsRequest(
            page_size=checks.int32("page_size", page_size),
            page_token="" if page is None else checks.text("page", page),
            include_vectors=checks.flag("include_vectors", include_vectors),
            include_predictions=checks.flag("include_predictions", include_predictions),
            include_payload=checks.flag("include_payload", include_payload),
            include_states=checks.flag("include_states", include_states),
        )
        _set_filter(request, filter)
        set_state(request, state, model)
        request.order.descending = checks.flag("descending", descending)
        if order_by is not None:
            request.order.field.name = checks.text("order_by", order_by)
        connection = self._connection
        reply: pb.ListItemsReply = connection.call(
            connection.stub.ListItems, request, connection.call_timeout(timeout)
        )
        items = (replies.item(item, with_states=include_states) for item in reply.items)
        return Page(tuple(items), reply.next_page_token or None)

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
    ) -> Iterator[Item]:
        """Yield the items that match a filter, or all, however many they are.

        They are fetched a page at a time; the arguments are those of `page`. A page whose items
        would be too large for one reply is fetched in parts.

            for item in db.items({"price": {"$lt": 10}}, order_by="price"):
                print(item.id, item.attributes)
        """
        token: str | None = None
        while True:
            try:
                found = self.page(
                    filter,
                    order_by=order_by,
                    descending=descending,
                    state=state,
                    model=model,
                    page_size=page_size,
                    page=token,
                    include_vectors=include_vectors,
                    include_predictions=include_predictions,
                    include_payload=include_payload,
                    include_states=include_states,
                    timeout=timeout,
                )
            except ReplyTooLarge:
                if page_size == 1:
                    raise
                page_size = max(1, page_size // 2)
                continue
            yield from found.items
            token = found.next_page
            if token is None:
                return

    def sample(
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
    ) -> tuple[Item, ...]:
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
        reply: pb.SampleItemsReply = connection.call(
            connection.stub.SampleItems, request, connection.call_timeout(timeout)
        )
        return tuple(map(replies.item, reply.items))

    def summarize(
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
        reply: pb.SummarizeItemsReply = connection.call(
            connection.stub.SummarizeItems, request, connection.call_timeout(timeout)
        )
        return Summary(
            reply.count,
            dict(zip(counted, map(_value_counts, reply.counts), strict=True)),
            dict(zip(summarized, map(_number_summary, reply.summaries), strict=True)),
        )


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
