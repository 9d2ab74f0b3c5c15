"""The calls of the v1 API that ask for items by what they are."""

from __future__ import annotations

from collections.abc import Iterable

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.columns.ordering import Ordering
from euclidesdb_server.columns.summaries import NumberSummary, ValueCounts
from euclidesdb_server.columns.unknown_fields import fields_in
from euclidesdb_server.database import FeatureDatabase, ItemQueries
from euclidesdb_server.database.requests import (
    Call,
    ListRequest,
    SampleRequest,
    SummarizeRequest,
)
from euclidesdb_server.rpc import v1_replies as replies
from euclidesdb_server.rpc.v1_fields import FieldReader, field_of, value_message
from euclidesdb_server.rpc.v1_filters import filter_tree
from euclidesdb_server.rpc.v1_requests import included
from euclidesdb_server.rpc.v1_states import state_of
from euclidesdb_server.values.filters import All, Field, Filter


class ItemQueryCalls:
    """Translates between messages and `ItemQueries`."""

    def __init__(self, database: FeatureDatabase, queries: ItemQueries) -> None:
        self._items = database
        self._queries = queries
        self._fields = queries.fields

    def CountItems(self, request: pb.CountItemsRequest, call: Call) -> pb.CountItemsReply:  # noqa: N802
        """See the proto."""
        condition = self._condition_of(request)
        return pb.CountItemsReply(
            count=self._queries.count(condition, call),
            unknown_fields=self.unknown_fields(condition, call),
        )

    def ListItems(self, request: pb.ListItemsRequest, call: Call) -> pb.ListItemsReply:  # noqa: N802
        """See the proto."""
        order = request.order
        fields = FieldReader(self._fields)
        field = fields.read_scalar(order.field) if order.HasField("field") else None
        condition = self._condition_of(request)
        page = self._queries.page(
            ListRequest(
                condition,
                Ordering(field, order.descending),
                request.page_size,
                request.page_token,
            ),
            call,
        )
        outcomes = self._items.get_many(page.ids, included(request), call)
        items, refused = replies.found_items(request, page.ids, outcomes)
        first = not request.page_token
        return pb.ListItemsReply(
            items=items,
            next_page_token=page.next_token,
            refused=refused,
            unknown_fields=self.unknown_fields(condition, call, field) if first else (),
        )

    def SampleItems(self, request: pb.SampleItemsRequest, call: Call) -> pb.SampleItemsReply:  # noqa: N802
        """See the proto."""
        sample = SampleRequest(
            request.count,
            self._condition_of(request),
            request.seed if request.HasField("seed") else None,
            FieldReader(self._fields).read_scalar(request.stratify_by)
            if request.HasField("stratify_by")
            else None,
        )
        ids = self._queries.sample(sample, call)
        outcomes = self._items.get_many(ids, included(request), call)
        items, refused = replies.found_items(request, ids, outcomes)
        return pb.SampleItemsReply(
            items=items,
            refused=refused,
            unknown_fields=self.unknown_fields(sample.condition, call, sample.stratify_by),
        )

    def SummarizeItems(  # noqa: N802
        self, request: pb.SummarizeItemsRequest, call: Call
    ) -> pb.SummarizeItemsReply:
        """See the proto."""
        wanted = SummarizeRequest(
            self.filter_of(request),
            self._fields_of(request.count_by),
            request.max_values,
            self._fields_of(request.numbers),
        )
        summary = self._queries.summarize(wanted, call)
        fields = (*wanted.count_by, *wanted.numbers)
        return pb.SummarizeItemsReply(
            count=summary.count,
            counts=map(_counts_message, summary.counts),
            summaries=map(_summary_message, summary.numbers),
            unknown_fields=self.unknown_fields(wanted.condition, call, *fields),
        )

    def remove_matching(self, request: pb.RemoveItemsRequest, call: Call) -> pb.RemoveItemsReply:
        """Remove the items that match the filter of a request."""
        condition = self.filter_of(request)
        unknown = self.unknown_fields(condition, call)  # before the last item with a field is gone
        if request.dry_run:
            count = self._queries.count(condition, call)
            return pb.RemoveItemsReply(removed=count, unknown_fields=unknown)
        removal = self._queries.remove(condition, self._items.remove_unchanged, call)
        reply = replies.remove_items_reply(removal)
        reply.unknown_fields.extend(unknown)
        return reply

    def unknown_fields(
        self, condition: Filter | None, call: Call, *fields: Field | None
    ) -> list[pb.UnknownField]:
        """The attributes that a filter and other parts of a request name, and that no item has."""
        named = [*fields_in(condition), *(field for field in fields if field is not None)]
        if not named:
            return []
        unknown = self._queries.unknown_fields(named, call)
        return [pb.UnknownField(name=each.name, similar=each.similar) for each in unknown]

    def filter_of(
        self,
        request: pb.CountItemsRequest
        | pb.ListItemsRequest
        | pb.SampleItemsRequest
        | pb.SummarizeItemsRequest
        | pb.RemoveItemsRequest
        | pb.ExportItemsRequest
        | pb.StartEmbeddingRequest,
    ) -> Filter | None:
        """The filter of a request; None if it has none."""
        if not request.HasField("filter"):
            return None
        return filter_tree(request.filter, self._fields)

    def _condition_of(
        self, request: pb.CountItemsRequest | pb.ListItemsRequest | pb.SampleItemsRequest
    ) -> Filter | None:
        """The filter of a request together with the state that it names; None if it has neither."""
        condition = self.filter_of(request)
        if not request.HasField("only"):
            return condition
        only = request.only
        state = self._queries.fields.state(only.model, state_of(only.state, "only.state"))
        return state if condition is None else All((condition, state))

    def _fields_of(self, messages: Iterable[pb.Field]) -> tuple[Field, ...]:
        return tuple(field_of(message, self._fields) for message in messages)


def _counts_message(counts: ValueCounts) -> pb.ValueCounts:
    return pb.ValueCounts(
        values=map(value_message, counts.values),
        counts=counts.counts,
        other=counts.other,
        missing=counts.missing,
    )


def _summary_message(summary: NumberSummary) -> pb.NumberSummary:
    return pb.NumberSummary(
        count=summary.count,
        min=summary.min,
        max=summary.max,
        mean=summary.mean,
        standard_deviation=summary.standard_deviation,
        median=summary.median,
    )
