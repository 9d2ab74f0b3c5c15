"""ItemQueries: the use cases that find items by what they are: count, list, sample, summarize."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.item_table import ItemTable
from euclidesdb_server.columns.summaries import (
    ValueCounts,
    number_summary,
    value_counts,
    value_groups,
)
from euclidesdb_server.columns.table_view import Selection
from euclidesdb_server.columns.unknown_fields import UnknownField, unknown_fields
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.fields import ModelFields
from euclidesdb_server.database.page_tokens import page_start, page_token
from euclidesdb_server.database.reply_size import ReplyBudget
from euclidesdb_server.database.requests import (
    Call,
    ListRequest,
    SampleRequest,
    SummarizeRequest,
    check_waiting,
)
from euclidesdb_server.database.results import ItemPage, Removal, Summary
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.filters import Field, Filter
from euclidesdb_server.values.stop import CheckStop

DEFAULT_PAGE: Final = 100
MAX_ITEMS: Final = 10_000
"""In one page, or one sample."""
DEFAULT_VALUES: Final = 100
MAX_VALUES: Final = 100_000
REMOVED_AT_A_TIME: Final = 1024
MAX_LOOKS: Final = 10
"""For items to remove, in one call: others may be adding them all the time."""
VALUE_BYTES: Final = 16
"""About what a value takes in a reply, with its count, in addition to its text."""
SUMMARY_ADVICE: Final = "ask for fewer values, or for fewer fields in one call"
MAX_FIELDS: Final = 100
"""Summarized in one call."""

T = TypeVar("T")
U = TypeVar("U")


class ItemQueries:
    """Answers them from the columns of items. Thread-safe.

    fields: what the names of models in fields refer to.
    """

    def __init__(self, table: ItemTable, fields: ModelFields, *, limits: ServerConfig) -> None:
        self.fields = fields
        self._limits = limits
        self._table = table

    def select(self, condition: Filter | None, call: Call) -> Selection:
        """The items that match, as of now. Raises StorageError, DeadlineExceeded."""
        check = partial(check_waiting, call)
        return self._table.view(check).select(condition, check)

    def unknown_fields(self, fields: Iterable[Field], call: Call) -> list[UnknownField]:
        """The attributes among `fields` that no item has. Raises as `select`."""
        view = self._table.view(partial(check_waiting, call))
        return unknown_fields(view, fields, self.fields.names())

    def count(self, condition: Filter | None, call: Call) -> int:
        """How many items match. Raises as `select`."""
        return len(self.select(condition, call))

    def page(self, request: ListRequest, call: Call) -> ItemPage:
        """A page of the ids of items that match. Raises InvalidRequest, and as `select`.

        An item that is stored from the first page to the last is on exactly one of them, whatever
        else is written meanwhile, if the value that the list is ordered by stays the same.
        """
        size = _within("page_size", request.page_size or DEFAULT_PAGE, 1, MAX_ITEMS)
        after = page_start(request.page_token, request.condition, request.ordering)
        selection = self.select(request.condition, call)
        numbers, last = request.ordering.page(selection, size, after)
        token = "" if last is None else page_token(last, request.condition, request.ordering)
        return ItemPage(selection.ids(numbers), token)

    def sample(self, request: SampleRequest, call: Call) -> list[str]:
        """The ids of items drawn at random, in the order in which they were first added.

        Raises InvalidRequest, and as `select`.
        """
        count = _within("count", request.count, 1, MAX_ITEMS)
        selection = self.select(request.condition, call)
        # the same seed must draw the same items, however these are stored
        order = np.argsort(selection.added)
        seed = None if request.seed is None else request.seed % (1 << 64)  # it may be negative
        generator = np.random.default_rng(seed)
        if request.stratify_by is None:
            chosen = _drawn(generator, order, count)
        else:
            groups = value_groups(selection, request.stratify_by)[order]
            _, firsts, sizes = np.unique(groups, return_index=True, return_counts=True)
            if len(firsts) * count > MAX_ITEMS:
                raise InvalidRequest(
                    f"count = {count} for each of {len(firsts):,} values would be more than "
                    f"{MAX_ITEMS:,} items"
                )
            by_group = order[np.argsort(groups, kind="stable")]
            parts = np.split(by_group, np.cumsum(sizes)[:-1])
            # in the order of their first items, so that the numbers of groups do not matter
            chosen = np.concatenate(
                [_drawn(generator, parts[place], count) for place in np.argsort(firsts)] or [order]
            )
        numbers = chosen[np.argsort(selection.added[chosen])]
        return selection.ids(numbers)

    def summarize(self, request: SummarizeRequest, call: Call) -> Summary:
        """Counts by value, and summaries of numbers. Raises InvalidRequest, and as `select`."""
        limit = _within("max_values", request.max_values or DEFAULT_VALUES, 1, MAX_VALUES)
        fields = len(request.count_by) + len(request.numbers)
        if fields > MAX_FIELDS:
            raise InvalidRequest(f"{fields} fields in one call; the limit is {MAX_FIELDS}")
        for name, fields_named in (("count_by", request.count_by), ("numbers", request.numbers)):
            if len({*fields_named}) < len(fields_named):
                raise InvalidRequest(f"{name} has a field twice")
        selection = self.select(request.condition, call)
        check = partial(check_waiting, call)
        budget = ReplyBudget(self._limits.max_reply_bytes, SUMMARY_ADVICE)

        def counts(field: Field) -> ValueCounts:
            found = value_counts(selection, field, limit)
            budget.add(sum(VALUE_BYTES + len(str(value)) for value in found.values))
            return found

        return Summary(
            len(selection),
            _each(request.count_by, counts, check),
            _each(request.numbers, lambda field: number_summary(selection, field), check),
        )

    def remove(
        self,
        condition: Filter | None,
        remove_unchanged: Callable[[Mapping[str, int]], Removal],
        call: Call,
    ) -> Removal:
        """Remove the items that match. Raises as `select`; the first item that fails ends it.

        remove_unchanged: as `FeatureDatabase.remove_unchanged`. An item that is written meanwhile
        is looked at again: it is removed if it matches then.
        """
        removed = 0
        check = partial(check_waiting, call)
        for _ in range(MAX_LOOKS):
            selection = self.select(condition, call)
            if not len(selection):
                break
            for start in range(0, len(selection), REMOVED_AT_A_TIME):
                check()
                numbers = np.arange(start, min(start + REMOVED_AT_A_TIME, len(selection)))
                labels: list[int] = selection.labels[numbers].tolist()
                removal = remove_unchanged(dict(zip(selection.ids(numbers), labels, strict=True)))
                removed += removal.removed
                for error in removal.errors.values():
                    raise error
        return Removal(removed)


def _each(values: Sequence[T], work: Callable[[T], U], check: CheckStop) -> list[U]:
    results = []
    for value in values:
        check()
        results.append(work(value))
    return results


def _drawn(
    generator: np.random.Generator, numbers: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    if len(numbers) <= count:
        return numbers
    drawn: npt.NDArray[np.int64] = generator.choice(numbers, count, replace=False)
    return drawn


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidRequest(f"{name} = {value} should be {least} to {most:,}")
    return value
