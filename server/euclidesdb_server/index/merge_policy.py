"""Which segments to merge: enough that searches ask few of them, so few that each row is rarely
written again.

Segments are kept in the order of their labels, and only neighbors are merged, so that rows at
equal distance stay in the order of their age. A segment belongs to a tier by its size: tier 0 up
to `base` rows, and each tier holds `factor` times more than the one before. Whenever there are
`factor` segments of one tier with none of a higher one between them, they become one segment of
the next tier; if that one would complete a run of its own tier, all are merged at once. So a row is
written at most once per tier, and a search asks less than `factor` segments per tier. With a base
of 10,000 and a factor of 10, a load of up to ten million rows writes each at most 4 times, with the
last merge, of all into one, when the space is idle; a search asks 9 segments on average while a
million rows are added, and 14 for ten million. With a factor of 6 it would be 6 and 9 segments, but
up to 4.6 writes, and the builds are what takes processor time from the searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment that could be merged.

    rows: that are not deleted. deleted: its other rows. outdated: it must be built again.
    blocked: it must be left alone for now, because it could not be built.
    """

    rows: int
    deleted: int = 0
    outdated: bool = False
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class MergePolicy:
    """base: rows in a segment of the lowest tier. factor: at least 2.

    max_deleted_share: a segment with more deleted rows is written again without them.
    """

    base: int
    factor: int
    max_deleted_share: float

    def next_merge(self, segments: Sequence[Candidate]) -> range | None:
        """The segments to merge next, in their order; None if there is nothing to do."""
        tiers = [None if each.blocked else self._tier(each.rows) for each in segments]
        for tier in sorted({tier for tier in tiers if tier is not None}):
            run = _run(tiers, tier, self.factor)
            if run is not None:
                return self._with_next_tiers(run, tiers, segments)
        # Small ones first: a large one must not keep them from having an index.
        alone = [
            (each.rows, place)
            for place, each in enumerate(segments)
            if not each.blocked and (each.outdated or self._has_many_deleted(each))
        ]
        if not alone:
            return None
        _, place = min(alone)
        return range(place, place + 1)

    def _with_next_tiers(
        self, run: range, tiers: Sequence[int | None], segments: Sequence[Candidate]
    ) -> range:
        """Widened for as long as what `run` becomes is the last that a larger run waits for."""
        while True:
            made = self._tier(sum(segments[place].rows for place in run))
            start = run.start
            while start > 0 and (before := tiers[start - 1]) is not None and before <= made:
                start -= 1
            if tiers[start : run.start].count(made) < self.factor - 1 or start == run.start:
                return run
            run = range(start, run.stop)

    def _has_many_deleted(self, segment: Candidate) -> bool:
        return segment.deleted > self.max_deleted_share * (segment.rows + segment.deleted)

    def _tier(self, rows: int) -> int:
        tier, size = 0, self.base
        while rows > size:
            tier, size = tier + 1, size * self.factor
        return tier


def _run(tiers: Sequence[int | None], tier: int, factor: int) -> range | None:
    """The latest neighbors of at most this tier with `factor` of exactly this tier among them."""
    stop = len(tiers)
    while stop > 0:
        start = stop
        while start > 0 and (before := tiers[start - 1]) is not None and before <= tier:
            start -= 1
        if tiers[start:stop].count(tier) >= factor:
            return range(start, stop)
        stop = start - 1
    return None
