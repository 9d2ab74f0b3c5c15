"""Which segments are merged: few writes per row, few segments per search, neighbors only."""

from __future__ import annotations

import pytest

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.index.merge_policy import Candidate, MergePolicy

DEFAULTS = IndexConfig()


def policy(base: int = DEFAULTS.compact_rows, factor: int = DEFAULTS.merge_factor) -> MergePolicy:
    return MergePolicy(base, factor, DEFAULTS.max_deleted_share)


class Load:
    """Flushes segments of `base` rows one after another and merges as the policy says."""

    def __init__(self, merging: MergePolicy) -> None:
        self.policy = merging
        self.segments: list[Candidate] = []
        self.added = self.written = 0

    def flush(self) -> None:
        self.segments.append(Candidate(self.policy.base))
        self.added += self.policy.base
        self.written += self.policy.base
        while (run := self.policy.next_merge(self.segments)) is not None:
            rows = sum(self.segments[place].rows for place in run)
            self.segments[run.start : run.stop] = [Candidate(rows)]
            self.written += rows

    def writes_when_idle(self) -> float:
        """How often each row is written, on average, once all are one segment."""
        last_merge = self.added if len(self.segments) > 1 else 0
        return (self.written + last_merge) / self.added


def test_a_load_writes_each_row_at_most_four_times_up_to_ten_million():
    load = Load(policy())
    numbers = []
    for _ in range(1000):
        load.flush()
        numbers.append(len(load.segments))
        assert load.writes_when_idle() <= 4, load.added
    assert sum(numbers) / len(numbers) < 14
    assert max(numbers) < 3 * DEFAULTS.merge_factor


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_the_number_of_segments_grows_with_the_logarithm_of_the_rows(factor):
    load = Load(policy(base=1, factor=factor))
    for _ in range(2000):
        load.flush()
        tiers = next(tier for tier in range(64) if factor**tier >= load.added) + 1
        assert len(load.segments) <= (factor - 1) * tiers


def test_what_completes_a_larger_run_is_merged_with_it_at_once():
    merging = policy(base=10, factor=3)
    larger = [Candidate(30), Candidate(30)]
    assert merging.next_merge([*larger, Candidate(10), Candidate(10)]) is None
    assert merging.next_merge([*larger, Candidate(10), Candidate(10), Candidate(10)]) == range(5)
    assert merging.next_merge([larger[0], *[Candidate(10)] * 3]) == range(1, 4)


def test_a_blocked_segment_is_left_alone_and_nothing_is_merged_across_it():
    merging = policy(base=10, factor=3)
    small, blocked = Candidate(10), Candidate(10, blocked=True)
    assert merging.next_merge([small, small, blocked, small]) is None
    assert merging.next_merge([small, small, blocked, small, small, small]) == range(3, 6)
    larger = [Candidate(30), Candidate(30, blocked=True), Candidate(30)]
    assert merging.next_merge([*larger, small, small, small]) == range(3, 6)


def test_a_segment_with_many_deleted_rows_or_outdated_options_is_written_again():
    merging = policy(base=10, factor=3)
    assert merging.next_merge([Candidate(8, deleted=2)]) is None
    assert merging.next_merge([Candidate(7, deleted=3)]) == range(1)
    assert merging.next_merge([Candidate(100), Candidate(10, outdated=True)]) == range(1, 2)
    both = [Candidate(90, outdated=True), Candidate(10, outdated=True)]
    assert merging.next_merge(both) == range(1, 2), "the smaller one first"
