"""The checker of histories finds what is wrong with them, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.proofs.history import Kind, Operation, contradiction
from tests.support.cases import each_as_subtest


def operation(text: str) -> Operation:
    """`add 1 @ 0-2`: it wrote version 1, was called at 0 and returned at 2."""
    what, when = text.split("@")
    kind, *version = what.split()
    called, returned = map(float, when.split("-"))
    return Operation(Kind(kind), int(version[0]) if version else None, called, returned)


LINEARIZABLE = {
    "nothing happened": [],
    "one after the other": ["add 1 @ 0-1", "read 1 @ 2-3", "remove @ 4-5", "read @ 6-7"],
    "during an add the old version is read": ["add 1 @ 0-1", "add 2 @ 2-9", "read 1 @ 3-4"],
    "and the new one": ["add 1 @ 0-1", "add 2 @ 2-9", "read 2 @ 3-4", "read 2 @ 5-6"],
    "the later of two adds is called first": [
        "add 1 @ 0-9",
        "add 2 @ 1-8",
        "read 2 @ 2-3",
        "read 1 @ 4-5",
    ],
    "two removes, of which one finds it": ["add 1 @ 0-1", "remove @ 2-9", "read @ 2-9"],
    "an item that comes and goes is seen": ["add 1 @ 0-9", "remove @ 1-8", "see @ 2-7"],
    "a long read may be of any moment": ["read 1 @ 0-9", "add 1 @ 1-2", "add 2 @ 3-4"],
    "what touches may overlap": ["add 1 @ 0-1", "read @ 1-2"],
}

CONTRADICTORY = {
    "an acknowledged add is missed": ["add 1 @ 0-1", "read @ 2-3"],
    "a version that was never written": ["add 1 @ 0-1", "read 2 @ 2-3"],
    "a version from the future": ["read 1 @ 0-1", "add 1 @ 2-3"],
    "the old version after the new was acknowledged": [
        "add 1 @ 0-1",
        "add 2 @ 2-3",
        "read 1 @ 4-5",
    ],
    "a removed item is back": ["add 1 @ 0-1", "remove @ 2-3", "read 1 @ 4-5"],
    "a removed item is seen": ["add 1 @ 0-1", "remove @ 2-3", "see @ 4-5"],
    "first the new version, then the old": [
        "add 1 @ 0-1",
        "add 2 @ 2-9",
        "read 2 @ 3-4",
        "read 1 @ 5-6",
    ],
    "readers disagree about the order of two adds": [
        "add 1 @ 0-9",
        "add 2 @ 0-9",
        "read 1 @ 1-2",
        "read 2 @ 3-4",
        "read 1 @ 5-6",
    ],
    "one item is removed twice": ["add 1 @ 0-1", "remove @ 2-9", "remove @ 2-9"],
    "an add is lost": ["add 1 @ 0-1", "add 2 @ 2-3", "remove @ 4-5", "add 3 @ 6-7", "read @ 8-9"],
}


@each_as_subtest("texts", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_a_linearizable_history_is_accepted(texts):
    assert contradiction([*map(operation, texts)]) is None


@each_as_subtest("texts", CONTRADICTORY.values(), ids=CONTRADICTORY)
def test_a_contradictory_history_is_not(texts):
    assert contradiction([*map(operation, texts)]) is not None


def test_the_contradictory_operation_is_named():
    history = [*map(operation, ["add 1 @ 0-1", "read @ 2-3", "read 1 @ 2-5"])]
    assert contradiction(history) is history[1]


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from(Kind))
    versions = {Kind.ADD: st.integers(1, 3), Kind.READ: st.sampled_from([None, 1, 2, 3])}
    version = draw(versions.get(kind, st.none()))
    called, returned = sorted([draw(st.integers(0, 9)), draw(st.integers(0, 9))])
    return Operation(kind, version, called, returned)


def explained_by_some_order(history: list[Operation]) -> bool:
    """By trying them all."""
    return any(map(explains, itertools.permutations(history)))


def explains(order: tuple[Operation, ...]) -> bool:
    version, latest_call = None, -1.0
    for each in order:
        latest_call = max(latest_call, each.called)
        if each.returned < latest_call or not each.possible(version):
            return False
        if not each.reads:
            version = each.version
    return True


@pytest.mark.parametrize("histories", [300, pytest.param(1500, marks=pytest.mark.long)])
def test_the_checker_agrees_with_trying_every_order(histories):
    @settings(max_examples=histories, deadline=None, derandomize=True)
    @given(st.lists(operations(), max_size=6))
    @example([])
    def agree(history):
        assert (contradiction(history) is None) == explained_by_some_order(history)

    agree()
