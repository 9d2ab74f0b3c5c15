"""The model machine with the rewrites of segments as moves of their own, at any time and in any
order, with writes in the middle of them, and with segments that are damaged between two starts.

In `test_model_machine.py` the compactor decides what is rewritten; here it has company.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from euclidesdb_server.index import ModelSpace
from tests.proofs.test_model_machine import (
    DEFAULT,
    MODELS,
    SETTINGS,
    SMALL,
    DatabaseMachine,
    additions,
    run_histories,
)
from tests.support.action_during_rewrite import ActionDuringRewrite

NEVER = threading.Event()
POSITIONS = st.integers(0, 9999)
"""Of segments, files and bytes. How many there are depends on what the compactor has just done, so
they are not drawn from those: a history must be the same when it is repeated."""


FLUSHES = "flushes"
FLUSHES_WITHOUT_INDEX = "flushes without an index"
MERGES = "merges of several segments"
SINGLE_SEGMENTS = "single segments written again"
MOVES = "moves of tombstones"
WITH_WRITES = "rewrites with writes meanwhile"
DAMAGES = "damaged files"
KINDS = (
    FLUSHES,
    FLUSHES_WITHOUT_INDEX,
    MERGES,
    SINGLE_SEGMENTS,
    MOVES,
    WITH_WRITES,
    DAMAGES,
)
"""What a long run must have done often."""


class SegmentMachine(DatabaseMachine):
    """`DatabaseMachine`, and the moves of a `Rewriter`."""

    @rule(model=MODELS)
    def flush(self, model) -> None:
        self.tally.rewrites[FLUSHES] += self.space(model).rewriter.flush(NEVER)

    @rule(model=MODELS)
    def flush_without_an_index(self, model) -> None:
        flushed = self.space(model).rewriter.flush(NEVER, build=False)
        self.tally.rewrites[FLUSHES_WITHOUT_INDEX] += flushed

    @rule(model=MODELS, first=POSITIONS, count=POSITIONS)
    def merge(self, model, first, count) -> None:
        segments = self.space(model).segments
        if segments:
            first %= len(segments)
            last = first + count % (len(segments) - first)
            sources = segments[first : last + 1]
            self.space(model).rewriter.merge(sources, NEVER)
            kind = MERGES if len(sources) > 1 else SINGLE_SEGMENTS
            self.tally.rewrites[kind] += not {*sources} & {*self.space(model).segments}

    @rule(model=MODELS)
    def move_tombstones(self, model) -> None:
        number = self.space(model).record.number
        before = self.database.store.tombstones(number)
        self.space(model).rewriter.move_tombstones(threading.Event())
        self.tally.rewrites[MOVES] += len(self.database.store.tombstones(number)) < len(before)

    @rule(data=st.data(), model=MODELS)
    @precondition(lambda self: self.items)
    def write_while_segments_are_rewritten(self, data, model) -> None:
        added, removed = data.draw(additions()), data.draw(st.sampled_from(sorted(self.items)))

        def write() -> None:
            self.add(added)
            if removed != added.id:
                self.database.features.remove(removed)
                del self.items[removed]

        action = ActionDuringRewrite(write)
        self.space(model).rewriter.compact(action)
        self.tally.rewrites[WITH_WRITES] += action.is_done
        action.is_set()  # there was nothing to rewrite: it is done now

    @rule(
        file=POSITIONS, place=POSITIONS, how=st.sampled_from(["change", "cut off", "delete", "all"])
    )
    def damage_and_restart(self, file, place, how) -> None:
        self.close()
        files = sorted(self.folder.glob("data/segments/*/[0-9]*/*"))
        if files:
            damage(files[file % len(files)], place, how)
            self.tally.rewrites[DAMAGES] += 1
        self.open()
        for model in self.database.spaces:
            self.space(model).rewriter.verify(NEVER)

    def space(self, model: str) -> ModelSpace:
        return self.database.spaces[model]


def damage(file: Path, place: int, how: str) -> None:
    """Change a byte of a file, cut it off, or delete it or all in its folder."""
    content = bytearray(file.read_bytes())
    match how:
        case "change" if content:
            content[place % len(content)] ^= 1
            file.write_bytes(content)
        case "cut off":
            file.write_bytes(content[: len(content) // 2])
        case "all":
            shutil.rmtree(file.parent)
        case _:
            file.unlink()


@pytest.mark.parametrize(("name", "write_buffer_bytes"), [("exact", DEFAULT), ("HNSW32", SMALL)])
def test_rewrites_in_any_order_agree_with_a_dict_and_brute_force(
    tmp_path, name, write_buffer_bytes
):
    run_histories(
        tmp_path,
        SETTINGS[name],
        write_buffer_bytes=write_buffer_bytes,
        histories=2,
        steps=40,
        kind=SegmentMachine,
    )


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("write_buffer_bytes", [SMALL, DEFAULT])
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_thousand_steps_with_rewrites_in_any_order(tmp_path, name, write_buffer_bytes):
    tally = run_histories(
        tmp_path,
        SETTINGS[name],
        write_buffer_bytes=write_buffer_bytes,
        histories=160,
        steps=200,
        kind=SegmentMachine,
    )
    assert tally.steps >= 20_000
    assert min(tally.rewrites[kind] for kind in KINDS) >= 20, tally.rewrites
