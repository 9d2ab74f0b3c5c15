"""Answers that are lists of items, or of answers to many queries."""

from __future__ import annotations

from collections.abc import Mapping

from euclidesdb._answers import Answer
from euclidesdb._neighbors import Neighbors
from euclidesdb._printing import SHOWN_ROWS, cell, items_text, listed
from euclidesdb._result_tables import item_columns, neighbor_columns
from euclidesdb._tables import Column, TabularTuple
from euclidesdb._types import Item

SHOWN_NEIGHBORS = 3
"""Of each answer, in a list of answers."""


class ItemList(TabularTuple[Item]):
    """Items. `ItemList(db.items("price < 10")).to_pandas()` makes a table of any of them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return items_text(f"{len(self):,} items", self)

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import items_html  # noqa: PLC0415  in notebooks alone

        return items_html(f"{len(self):,} items", self)

    def _table(self) -> list[Column]:
        return item_columns(self)


class Answers(TabularTuple[Answer]):
    """The answers to many queries, in the order of the queries."""

    __slots__ = ()

    @property
    def errors(self) -> Mapping[int, Exception]:
        """Why queries were refused, by their positions."""
        errors = ((query, answer.error) for query, answer in enumerate(self))
        return {query: error for query, error in errors if error is not None}

    def __repr__(self) -> str:
        rows = [
            [f"{query}", *row]
            for query, answer in enumerate(self[:SHOWN_ROWS])
            for row in _answer_rows(answer)
        ]
        head = f"{len(self):,} answers:"
        if len(self) > SHOWN_ROWS:
            head = f"{len(self):,} answers; the first {SHOWN_ROWS}:"
        return listed(head, rows, len(rows))

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import answers_html  # noqa: PLC0415  in notebooks alone

        return answers_html(self)

    def _table(self) -> list[Column]:
        parts = [
            (query, neighbors)
            for query, answer in enumerate(self)
            if answer.error is None
            for neighbors in answer.values()
        ]
        return neighbor_columns([part for _, part in parts], [query for query, _ in parts])


def _answer_rows(answer: Answer) -> list[list[str]]:
    if answer.error is not None:
        return [["refused", cell(str(answer.error))]]
    return [[cell(model), _nearest(neighbors)] for model, neighbors in answer.items()]


def _nearest(neighbors: Neighbors) -> str:
    texts = [f"{cell(each.id)} ({each.distance:.4f})" for each in neighbors[:SHOWN_NEIGHBORS]]
    more = len(neighbors) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "") or "no neighbors"
