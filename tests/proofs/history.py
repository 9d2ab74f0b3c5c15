"""What many threads did to one item and saw of it, and whether that is linearizable.

An item is a register: an add writes a version, a remove empties it, a read tells what is there.
A history is linearizable if each operation can be given one moment between its call and its
return, such that the operations in the order of these moments are what a single thread could
have done. The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993)
with Lowe's memory of configurations and his laziness (Testing for Linearizability, 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Version: TypeAlias = int | None
"""None: the item is not there."""

_Configuration: TypeAlias = tuple[frozenset[int], Version]
"""Operations that took effect and have not returned yet, and the version after them."""


class Kind(Enum):
    """What an operation does."""

    ADD = "add"
    REMOVE = "remove"  # of an item that was there; one refused is a read of None
    READ = "read"
    SEE = "see"  # that the item is there, in some version


@dataclass(frozen=True, slots=True)
class Operation:
    """version: written or read; None if the item does not exist. called, returned: on one clock."""

    kind: Kind
    version: Version
    called: float
    returned: float

    @property
    def reads(self) -> bool:
        """Whether it leaves the item as it is."""
        return self.kind in (Kind.READ, Kind.SEE)

    def possible(self, version: Version) -> bool:
        """Whether it could have ended as it did with the item at that version."""
        match self.kind:
            case Kind.ADD:
                return True
            case Kind.READ:
                return version == self.version
            case Kind.REMOVE | Kind.SEE:
                return version is not None


def contradiction(history: Sequence[Operation]) -> Operation | None:
    """The first to return that nothing explains; None where the history is linearizable.

    The item is not there at the beginning.
    """
    pending: set[int] = set()
    configurations: set[_Configuration] = {(frozenset(), None)}
    for returns, number in _events(history):
        if not returns:
            pending.add(number)
            continue
        configurations = set(_taking_effect(number, history, pending, configurations))
        if not configurations:
            return history[number]
        pending.remove(number)
    return None


def around(history: Sequence[Operation], operation: Operation) -> str:
    """The operations that overlap with one of them, for a person to look at."""
    near = [
        other
        for other in history
        if other.called <= operation.returned and other.returned >= operation.called
    ]
    return "\n".join(
        f"{other.called - operation.called:+.6f} to {other.returned - operation.called:+.6f}: "
        f"{other.kind.value} {other.version}" + (" <- cannot be" if other is operation else "")
        for other in sorted(near, key=lambda other: other.called)
    )


def _events(history: Sequence[Operation]) -> Iterator[tuple[bool, int]]:
    """Calls (False) and returns (True) in order of time."""
    calls = [(each.called, False, number) for number, each in enumerate(history)]
    returns = [(each.returned, True, number) for number, each in enumerate(history)]
    # at one moment calls come first: what may have overlapped did
    for _, is_return, number in sorted(calls + returns):
        yield is_return, number


def _taking_effect(
    number: int,
    history: Sequence[Operation],
    pending: set[int],
    configurations: set[_Configuration],
) -> Iterator[_Configuration]:
    """Where `number`, with others that are pending before it, can have taken effect by now."""
    to_try = [*configurations]
    tried: set[_Configuration] = set()
    while to_try:
        done, version = to_try.pop()
        # to read at once what may be read costs nothing: the others can still do all they could
        done |= {
            each
            for each in pending - done
            if history[each].reads and history[each].possible(version)
        }
        if (done, version) in tried:
            continue
        tried.add((done, version))
        if number in done:
            yield done - {number}, version
            continue
        to_try += [
            (done | {each}, history[each].version if history[each].kind is Kind.ADD else None)
            for each in pending - done
            if not history[each].reads and history[each].possible(version)
        ]
