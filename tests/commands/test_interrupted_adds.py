"""`euclidesdb add` when the server goes away in the middle, and Ctrl-C at any moment.

The client is a double: these moments cannot be met with a real one.
"""

from __future__ import annotations

import json
import signal
from itertools import islice
from typing import Any

import pytest

import euclidesdb
from euclidesdb_server.commands.add_sources import Given, Source
from euclidesdb_server.commands.adding import Adding

ITEMS = 1000


class Scripted:
    """A client whose add_many does what the test says."""

    def __init__(self, add_many):
        self.add_many = add_many

    def get_many(self, ids):
        """None of them is stored yet."""
        assert ids
        return ()


@pytest.fixture
def add():
    """Runs an add of 1,000 texts with a scripted `add_many`; returns the exit code."""

    def run(add_many, *, as_json=False):
        items = [Given(f"item-{number}", "text", "one") for number in range(ITEMS)]
        source = Source(lambda: iter(items), frozenset(("text",)), ITEMS)
        client: Any = Scripted(add_many)
        adding = Adding(client, {"text": ["m"]}, id_prefix="", attributes={}, skip_existing=False)
        return adding.run([source], as_json=as_json)

    return run


def test_a_server_that_goes_away_leaves_a_count_and_how_to_go_on(add, capsys):
    def add_many(items):
        taken = [*islice(items, 600)]
        refused = tuple(
            euclidesdb.Refused(position, taken[position].id, euclidesdb.ModelFailed("no", "failed"))
            for position in (7, 400)
        )
        unknown = ((300, "item-300"), (301, "item-301"))
        interrupted = euclidesdb.AddsInterrupted(
            "adding stopped: gone", "unavailable", refused, unknown, 300
        )
        interrupted.changes = euclidesdb.Changes(added=299, unchanged=2)
        raise interrupted

    assert add(add_many) == 1
    printed = capsys.readouterr()
    assert printed.out == (
        "299 items added, 2 stored already and unchanged, 2 could not be added\n"
    )
    *refused, last = printed.err.splitlines()
    assert [line.split(":")[0] for line in refused] == ["  item-7", "  item-400"]
    assert last == (
        "euclidesdb: adding stopped: gone; 2 more may be on disk or not; to go on, run the "
        "same command with --skip-existing"
    )


def test_ctrl_c_ends_the_input(add, capsys):
    def add_many(items):
        for _ in islice(items, 100):
            pass
        signal.raise_signal(signal.SIGINT)
        assert not [*items]
        return euclidesdb.AddErrors((), euclidesdb.Changes(added=90, replaced=10))

    assert add(add_many, as_json=True) == 130
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "added": 90,
        "updated": 10,
        "unchanged": 0,
        "incomplete": 0,
        "skipped": 0,
        "failed": 0,
        "errors": [],
    }
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once(add):
    def add_many(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return ()

    with pytest.raises(KeyboardInterrupt):
        add(add_many)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_errors_are_listed_up_to_a_hundred(add, capsys):
    def add_many(items):
        error = euclidesdb.UndecodableInput("not an image\x1b[2J", "undecodable_input")
        refused = [
            euclidesdb.Refused(position, item.id, error) for position, item in enumerate(items)
        ]
        return euclidesdb.AddErrors(refused, euclidesdb.Changes())

    assert add(add_many) == 1
    printed = capsys.readouterr()
    assert printed.out == "0 items added, 1,000 could not be added\n"
    lines = printed.err.splitlines()
    assert len(lines) == 101
    assert lines[0] == r"  item-0: not an image\x1b[2J"
    assert lines[-1] == "  and 900 more; --json lists them all"
