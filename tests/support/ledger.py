"""What has been acknowledged, recorded outside the database, to compare the database with.

Each thread owns its ids, so the state of an id is definite: the version that was acknowledged
last, or one that an operation in doubt since then would have made. If the last writes may be
lost, what is left must be a prefix of history: only a suffix of each thread's writes may be
missing, and no write may be there that began after a missing one was acknowledged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Version: TypeAlias = int | None
"""None: the item does not exist."""


@dataclass(slots=True)
class _Step:
    """An operation of one thread, and the versions that it writes.

    began, ended: on one clock; an operation without an answer has not ended.
    """

    versions: Mapping[str, Version]
    began: int
    ended: float = math.inf


@dataclass(slots=True)
class Ledger:
    """The versions that each id may have now. Thread-safe.

    possible: by id. base: the version of each id at the last `settle`. steps: by thread, its
    operations since then, in order. clock: counts their beginnings and ends.
    """

    possible: dict[str, set[Version]] = field(default_factory=dict)
    base: dict[str, Version] = field(default_factory=dict)
    steps: dict[str, list[_Step]] = field(default_factory=dict)
    clock: int = 0
    versions: int = 0
    acknowledged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_version(self) -> int:
        """A number that no version had before."""
        with self.lock:
            self.versions += 1
            return self.versions

    def begins(self, step: Mapping[str, Version]) -> None:
        """An operation of one thread begins, which may give its ids these versions."""
        with self.lock:
            for item_id, version in step.items():
                self.possible.setdefault(item_id, {None}).add(version)
            self.clock += 1
            own = self.steps.setdefault(_owner(next(iter(step))), [])
            own.append(_Step(step, self.clock))

    def became(self, item_id: str, version: Version) -> None:
        """The write of this version was acknowledged."""
        with self.lock:
            self.possible[item_id] = {version}
            self.acknowledged += 1
            self.clock += 1
            if own := self.steps.get(_owner(item_id)):
                own[-1].ended = self.clock

    def was_refused(self, item_id: str, version: Version) -> None:
        """The last operation of its thread did not write this version, which is new to the id."""
        with self.lock:
            self.possible[item_id].discard(version)
            steps = self.steps[_owner(item_id)]
            written = steps[-1].versions
            steps[-1].versions = {name: each for name, each in written.items() if name != item_id}

    def present(self) -> set[str]:
        """The ids that certainly exist."""
        with self.lock:
            return {item_id for item_id, versions in self.possible.items() if None not in versions}

    def removed(self) -> set[str]:
        """The ids that certainly do not exist any more."""
        with self.lock:
            return {item_id for item_id, versions in self.possible.items() if versions == {None}}

    def settle(self, found: Mapping[str, Version], *, last_may_be_lost: bool = False) -> int:
        """Compare the versions found with those possible; from now on each id has that version.

        Returns how many operations were lost: 0, unless the last ones may be.
        """
        lost = 0
        if last_may_be_lost:
            left = {owner: self._possibly_left(owner, found) for owner in self.steps}
            lost = sum(len(steps) - max(left[owner]) for owner, steps in self.steps.items())
            self._check_order(left)
        else:
            for item_id, possible in self.possible.items():
                version = found[item_id]
                assert version in possible, f"{item_id} has version {version}, not of {possible}"
        self.possible = {item_id: {version} for item_id, version in found.items()}
        self.base, self.steps = dict(found), {}
        return lost

    def check_moment(self, found: Mapping[str, Version], after: int) -> None:
        """Compare what was there at one moment, which came after the time `after` on the clock.

        AssertionError unless it is a prefix of history that has all that was acknowledged by then.
        The writes are over; the ledger stays as it is.
        """
        left = {owner: self._possibly_left(owner, found) for owner in self.steps}
        self._check_order(left)
        for owner, steps in self.steps.items():
            for step in steps[left[owner][-1] :]:
                assert step.ended > after, f"{step} was acknowledged before, and is missing"

    def _possibly_left(self, owner: str, found: Mapping[str, Version]) -> range:
        """How many of a thread's first operations may be there; those after them are missing.

        More than one number is possible if some operations changed nothing.
        """
        steps = [step.versions for step in self.steps[owner]]
        own = [item_id for item_id in found if _owner(item_id) == owner]
        state = {item_id: self.base.get(item_id) for item_id in own}
        possible = []
        for done, step in enumerate([{}, *steps]):  # each is written by one batch: all or nothing
            state.update(step)
            if all(found[name] == state[name] for name in own):
                possible.append(done)
        assert possible, f"{found} is not a state that the writes of {owner} went through"
        return range(possible[0], possible[-1] + 1)

    def _check_order(self, left: Mapping[str, range]) -> None:
        """AssertionError if an operation is there that began after the end of a missing one."""
        there = [s.began for owner, steps in self.steps.items() for s in steps[: left[owner][0]]]
        missing = [s.ended for owner, steps in self.steps.items() for s in steps[left[owner][-1] :]]
        assert max(there, default=0) < min(missing, default=math.inf), (
            "an operation is missing that was acknowledged before another began, which is there"
        )


def _owner(item_id: str) -> str:
    """The number of the thread that writes an id."""
    return item_id.partition("-")[0]
