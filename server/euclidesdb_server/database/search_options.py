"""SearchOptions: what a search returns, and how it ranks, beyond the nearest.

The order of the steps is fixed: the nearest items, at most so many of each group, then diversity
among these, then the offset.
"""

from __future__ import annotations

from typing import Final

import msgspec

from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.filters import Field, Prediction, PredictionValue

MAX_CANDIDATES: Final = 10_000
"""Among which diversity chooses: their vectors are held in memory."""
CANDIDATES_PER_RESULT: Final = 5
"""Among which diversity chooses by default."""
MAX_TOP_LABELS: Final = 1000
MAX_ATTRIBUTE_NAMES: Final = 100
MAX_NAME: Final = 1024
"""Characters of an attribute's name."""
SHOWN: Final = 64
"""Characters; a longer name is abbreviated in messages."""


class Diversity(msgspec.Struct, frozen=True):
    """Maximal marginal relevance (`diversity.py`).

    weight: from 0, nearness alone, to 1, difference alone. candidates: how many of the nearest to
    choose from; 0: CANDIDATES_PER_RESULT for each result.
    """

    weight: float
    candidates: int = 0

    def pool(self, wanted: int) -> int:
        """How many of the nearest to choose `wanted` results from."""
        return self.candidates or min(wanted * CANDIDATES_PER_RESULT, MAX_CANDIDATES)


class GroupBy(msgspec.Struct, frozen=True):
    """At most `max_per_group` results with each value of a field.

    field: an attribute, the label that a model predicts, or the id.
    """

    field: Field
    max_per_group: int = 1


class SearchOptions(msgspec.Struct, frozen=True):
    """The options of a search.

    offset: leave out so many of the first results. exact: compare with every row, whatever the
    engine is. include_...: what to return of each result besides. top_labels: how many of its most
    probable classes. attribute_names: only these attributes; names with dots for nested ones;
    empty: all. fuse: also rank the results of all models together.
    """

    offset: int = 0
    exact: bool = False
    include_payload: bool = False
    include_vectors: bool = False
    include_predictions: bool = False
    top_labels: int = 0
    attribute_names: tuple[str, ...] = ()
    diversity: Diversity | None = None
    group_by: GroupBy | None = None
    fuse: bool = False

    @property
    def returns_details(self) -> bool:
        """Whether anything is returned that is in the details of a neighbor."""
        return (
            self.include_payload
            or self.include_vectors
            or self.include_predictions
            or self.top_labels > 0
            or self.group_by is not None
        )

    def pool(self, top_k: int) -> int:
        """How many items to rank, to return `top_k` of them behind the offset."""
        wanted = top_k + self.offset
        return wanted if self.diversity is None else self.diversity.pool(wanted)

    def check(self, top_k: int, max_top_k: int) -> None:
        """Raise InvalidRequest unless all values are in their range."""
        wanted = top_k + self.offset
        if self.offset < 0:
            raise InvalidRequest(f"offset = {self.offset} should not be negative")
        if wanted > max_top_k:
            raise InvalidRequest(
                f"offset = {self.offset} and top_k = {top_k} add up to {wanted}; the limit is "
                f"{max_top_k}"
            )
        if not 0 <= self.top_labels <= MAX_TOP_LABELS:
            raise InvalidRequest(
                f"top_labels = {self.top_labels} should be 0 to {MAX_TOP_LABELS:,}"
            )
        self._check_attribute_names()
        if self.diversity is not None:
            _check_diversity(self.diversity, wanted)
        if self.group_by is not None:
            _check_group_by(self.group_by)

    def _check_attribute_names(self) -> None:
        names = self.attribute_names
        if len(names) > MAX_ATTRIBUTE_NAMES:
            raise InvalidRequest(
                f"{len(names):,} attribute_names; the limit is {MAX_ATTRIBUTE_NAMES}"
            )
        for name in names:
            if not 1 <= len(name) <= MAX_NAME:
                shown = repr(name if len(name) <= SHOWN else name[:48] + "...")
                raise InvalidRequest(
                    f"the name {shown} in attribute_names has {len(name):,} characters; it should "
                    f"have 1 to {MAX_NAME:,}"
                )


DEFAULT_OPTIONS: Final = SearchOptions()


def _check_group_by(group_by: GroupBy) -> None:
    field = group_by.field
    if isinstance(field, Prediction) and field.value is not PredictionValue.LABEL:
        raise InvalidRequest(
            "group_by.field: results are grouped by the label that a model predicts, not by its "
            f"{field.value.value}"
        )
    if group_by.max_per_group < 1:
        raise InvalidRequest(
            f"group_by.max_per_group = {group_by.max_per_group} should be at least 1"
        )


def _check_diversity(diversity: Diversity, wanted: int) -> None:
    if not 0 <= diversity.weight <= 1:  # or it is NaN
        raise InvalidRequest(f"diversity.weight = {diversity.weight:g} should be from 0 to 1")
    candidates = diversity.candidates
    if candidates and not wanted <= candidates <= MAX_CANDIDATES:
        raise InvalidRequest(
            f"diversity.candidates = {candidates} should be {wanted} (offset + top_k) to "
            f"{MAX_CANDIDATES:,}, or 0"
        )
    if wanted > MAX_CANDIDATES:
        raise InvalidRequest(
            f"diversity chooses among at most {MAX_CANDIDATES:,} candidates, which is less than "
            f"offset + top_k = {wanted}"
        )
