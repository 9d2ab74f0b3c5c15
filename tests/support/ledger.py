"""What has been acknowledged, recorded outside the database, to compare the database with.

Each thread owns its ids, so the state of an id is definite: the version that was acknowledged
last, or one that an operation in doubt since then would have made. If the last writes may be
lost, only a suffix of each thread's writes may be missing: what is left is a prefix of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Version: TypeAlias = int | None
"""None: the item does not exist."""


@dataclass(slots=True)
class Ledger:
    """The versions that each id may have now. Thread-safe.

    possible: by id. base: the version of each id at the last `settle`. steps: by thread, its
    operations since then, in order, each with the versions that it writes.
    """

    possible: dict[str, set[Version]] = field(default_factory=dict)
    base: dict[str, Version] = field(default_factory=dict)
    steps: dict[str, list[Mapping[str, Version]]] = field(default_factory=dict)
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
            self.steps.setdefault(_owner(next(iter(step))), []).append(step)

    def became(self, item_id: str, version: Version) -> None:
        """The write of this version was acknowledged."""
        with self.lock:
            self.possible[item_id] = {version}
            self.acknowledged += 1

    def was_refused(self, item_id: str, version: Version) -> None:
        """The last operation of its thread did not write this version, which is new to the id."""
        with self.lock:
            self.possible[item_id].discard(version)
            steps = self.steps[_owner(item_id)]
            steps[-1] = {name: each for name, each in steps[-1].items() if name != item_id}

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
            lost = sum(self._lost_of(owner, found) for owner in self.steps)
        else:
            for item_id, possible in self.possible.items():
                version = found[item_id]
                assert version in possible, f"{item_id} has version {version}, not of {possible}"
        self.possible = {item_id: {version} for item_id, version in found.items()}
        self.base, self.steps = dict(found), {}
        return lost

    def _lost_of(self, owner: str, found: Mapping[str, Version]) -> int:
        """How many of a thread's last operations are missing; all before them must be there."""
        steps = self.steps[owner]
        own = [item_id for item_id in found if _owner(item_id) == owner]
        for done in range(len(steps), -1, -1):
            state = {item_id: self.base.get(item_id) for item_id in own}
            for step in steps[:done]:
                state.update(step)
            half_done = steps[done] if done < len(steps) else {}  # each item by itself
            if all(found[name] in (state[name], half_done.get(name, state[name])) for name in own):
                return len(steps) - done
        raise AssertionError(f"{found} is not a state that the writes of {owner} went through")


def _owner(item_id: str) -> str:
    """The number of the thread that writes an id."""
    return item_id.partition("-")[0]
