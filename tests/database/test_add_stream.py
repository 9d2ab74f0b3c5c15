"""AddStream without a database: what is in a batch, when it begins, and in which order all goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from euclidesdb_server.database.add_stream import (
    MAX_BATCHES,
    MAX_BYTES,
    MAX_ITEMS,
    Item,
    Outcome,
    add_stream,
)
from euclidesdb_server.database.requests import AddRequest, Call, NoCaller
from euclidesdb_server.database.results import StoredEmbedding, Written
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import DatabaseError, InvalidRequest, Overloaded, ReplyTooLarge


class Source:
    """Items that a test lets arrive."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Item, int]] = deque()
        self.held = 0
        self.ended = False
        self.error: Exception | None = None
        self._arrival: Future[None] = Future()

    def put(self, *ids: str, size: int = 10) -> None:
        self.waiting.extend((AddRequest(item_id), size) for item_id in ids)
        self.held += size * len(ids)
        self._arrived()

    def end(self, error: Exception | None = None) -> None:
        self.ended, self.error = True, error
        self._arrived()

    def _arrived(self) -> None:
        arrival, self._arrival = self._arrival, Future()
        arrival.set_result(None)

    def arrival(self) -> Future[None]:
        if self.waiting or self.ended:
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._arrival

    def take(self) -> tuple[Item, int] | None:
        if self.waiting:
            return self.waiting.popleft()
        if self.error is not None:
            raise self.error
        return None

    def finished(self, size: int) -> None:
        self.held -= size

    def is_over(self) -> bool:
        return self.ended and not self.waiting and self.error is None


class Adds:
    """An `add_many` whose batches are done when the test says so."""

    def __init__(self, *, largest: int = MAX_ITEMS) -> None:
        self.begun: list[list[str]] = []
        self.done: list[Future[None]] = []
        self.closed = 0
        self.automatic = False
        self._largest = largest

    async def __call__(self, items: Sequence[Item], _: object) -> list[Outcome]:
        if len(items) > self._largest:
            raise ReplyTooLarge("too many")
        self.begun.append([item.id for item in items if isinstance(item, AddRequest)])
        future: Future[None] = Future()
        self.done.append(future)
        try:
            if not self.automatic:
                await Wait(future, None)
        except GeneratorExit:
            self.closed += 1
            raise
        return [outcome_of(item) for item in items]


def outcome_of(item: Item) -> Outcome:
    if isinstance(item, AddRequest):
        return Written([StoredEmbedding(item.id, "", None, None)])
    return item


class Run:
    """An `add_stream`, advanced step by step."""

    def __init__(self, adds: Adds, call: Call | None = None) -> None:
        self.source = Source()
        self.adds = adds
        self.outcomes: list[str] = []
        self.ended = False
        self._stream = add_stream(self.source, adds, call or NoCaller())
        self._step: Any = None

    def go(self) -> None:
        """Go on until something must be waited for."""
        while not self.ended:
            if self._step is None:
                self._step = self._stream.__anext__()
            try:
                wait: Wait = self._step.send(None)
            except StopIteration as made:
                self._step = None
                for item, outcome in zip(*made.value, strict=True):
                    if isinstance(outcome, DatabaseError):
                        raise outcome from None
                    (stored,) = outcome
                    assert stored.model == item.id
                    self.outcomes.append(item.id)
            except StopAsyncIteration:
                self.ended = True
            else:
                assert not wait.future.done()
                return

    def close(self) -> None:
        with pytest.raises((GeneratorExit, StopAsyncIteration)):
            self._step.throw(GeneratorExit())


def test_a_lone_item_begins_at_once_and_others_gather_while_there_is_no_room():
    run = Run(Adds())
    run.go()
    for name in ("a", "b", "c", "d", "e"):
        run.source.put(name)
        run.go()
    assert run.adds.begun == [["a"], ["b"], ["c"]]
    assert MAX_BATCHES == 3
    run.adds.done[0].set_result(None)
    run.go()
    assert (run.outcomes, run.adds.begun[3:]) == (["a"], [["d", "e"]])


def test_outcomes_keep_the_order_though_later_batches_are_done_first():
    run = Run(Adds())
    run.go()
    for name in ("a", "b", "c"):
        run.source.put(name)
        run.go()
    run.adds.done[2].set_result(None)
    run.adds.done[1].set_result(None)
    run.go()
    assert run.outcomes == []
    run.adds.done[0].set_result(None)
    run.go()
    assert run.outcomes == ["a", "b", "c"]
    assert run.source.held == 0


def test_an_item_waits_for_the_one_with_its_id_in_another_batch():
    run = Run(Adds())
    run.go()
    run.source.put("a")
    run.go()
    run.source.put("b", "a", "c")
    run.go()
    assert run.adds.begun == [["a"], ["b"]]
    run.adds.done[1].set_result(None)
    run.go()
    assert run.adds.begun == [["a"], ["b"]]
    run.adds.done[0].set_result(None)
    run.go()
    assert run.adds.begun[2:] == [["a", "c"]]


def test_an_id_may_be_in_a_batch_twice():
    run = Run(Adds())
    run.source.put("a", "a", "b", "a")
    run.go()
    assert run.adds.begun == [["a", "a", "b", "a"]]


def test_batches_are_limited_in_items_and_bytes():
    run = Run(Adds())
    run.source.put(*map(str, range(MAX_ITEMS + 1)))
    run.source.put("large", size=2 * MAX_BYTES)
    run.source.put("small")
    run.go()
    assert [len(batch) for batch in run.adds.begun] == [MAX_ITEMS, 1, 1]
    assert run.adds.begun[2] == ["large"]


def test_what_is_wrong_with_the_stream_is_raised_after_what_came_before():
    run = Run(Adds())
    run.source.put("a", "b")
    run.source.end(InvalidRequest("cut off"))
    run.go()
    assert run.outcomes == []
    run.adds.done[0].set_result(None)
    with pytest.raises(InvalidRequest, match="cut off"):
        run.go()
    assert run.outcomes == ["a", "b"]


def test_a_stream_that_is_closed_gives_up_what_is_in_work():
    run = Run(Adds())
    run.go()
    for name in ("a", "b"):
        run.source.put(name)
        run.go()
    run.close()
    assert run.adds.closed == 2


class Queue(Adds):
    """Refuses what is more than `room` items in work, as a model's queue does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    async def __call__(self, items: Sequence[Item], call: object) -> list[Outcome]:
        taken, rest = items[: self.room], items[self.room :]
        self.room -= len(taken)
        outcomes = await super().__call__(taken, call)
        self.room += len(taken)
        return [*outcomes, *(Overloaded("full") for _ in rest)]


def test_a_stream_does_not_overload_a_queue_by_itself():
    adds = Queue(room=5)
    run = Run(adds)
    run.go()
    for names in ("abc", "def", "ghi"):
        run.source.put(*names)
        run.go()
    run.source.end()
    assert adds.begun == [["a", "b", "c"], ["d", "e"], []]
    while not run.ended:
        next(future for future in adds.done if not future.done()).set_result(None)
        run.go()
    assert run.outcomes == [*"abcdefghi"]
    assert adds.begun[3:] == [["f"], ["g", "h", "i"]]


class FullOnce(Adds):
    """Refuses the items at some positions of its first batch, as a queue that is full for these."""

    def __init__(self, *refused: int) -> None:
        super().__init__()
        self._refused = refused

    async def __call__(self, items: Sequence[Item], call: object) -> list[Outcome]:
        refused = () if self.begun else self._refused
        outcomes = await super().__call__(items, call)
        return [Overloaded("full") if at in refused else each for at, each in enumerate(outcomes)]


def test_what_was_written_is_not_added_again():
    adds = FullOnce(1, 3)
    run = Run(adds)
    run.go()
    for names in ("abcde", "f"):
        run.source.put(*names)
        run.go()
    run.source.end()
    while not run.ended:
        next(future for future in adds.done if not future.done()).set_result(None)
        run.go()
    assert adds.begun == [[*"abcde"], ["f"], ["b", "d"]]
    assert run.outcomes == [*"abcdef"]


def test_a_refused_item_does_not_undo_a_later_one_of_its_id():
    adds = FullOnce(0, 1)
    run = Run(adds)
    run.go()
    for names in ("aba", "f"):
        run.source.put(*names)
        run.go()
    adds.automatic = True
    for future in adds.done:
        future.set_result(None)
    with pytest.raises(Overloaded):
        run.go()
    assert adds.begun == [[*"aba"], ["f"], ["b"]]


def test_what_others_overload_is_refused():
    adds = Queue(room=0)
    adds.automatic = True
    run = Run(adds)
    run.source.put("a", "b")
    run.source.end()
    with pytest.raises(Overloaded):
        run.go()
    assert len(adds.begun) == 1


def test_past_the_deadline_nothing_is_waited_for():
    class Late(NoCaller):
        def time_remaining(self) -> float:
            return 0.0

    run = Run(Adds(), Late())
    run.source.put("a", "b")
    run.source.end()
    run.go()
    run.go()  # whatever it waited for, the time is up
    assert (run.ended, run.outcomes) == (True, ["a", "b"])


def test_a_batch_whose_reply_would_be_too_large_is_cut():
    adds = Adds(largest=3)
    adds.automatic = True
    run = Run(adds)
    names = [str(number) for number in range(20)]
    run.source.put(*names)
    run.source.end()
    run.go()
    assert (run.ended, run.outcomes) == (True, names)
    assert max(map(len, adds.begun)) <= 3


@given(st.lists(st.one_of(st.sampled_from("abcde"), st.integers(0, 4)), max_size=60))
def test_any_history_gives_every_item_one_outcome_in_order(moves):
    """A letter arrives; a number ends the batch in work of that number, if there is one."""
    run = Run(Adds())
    sent: list[str] = []
    run.go()
    for move in moves:
        if isinstance(move, str):
            sent.append(move)
            run.source.put(move)
        else:
            pending = [future for future in run.adds.done if not future.done()]
            if move < len(pending):
                pending[move].set_result(None)
        run.go()
        in_work = [
            batch
            for batch, future in zip(run.adds.begun, run.adds.done, strict=True)
            if not future.done()
        ]
        assert len(in_work) <= MAX_BATCHES
        assert sum(map(len, map(set, in_work))) == len({name for each in in_work for name in each})
    run.source.end()
    run.go()
    while not run.ended:
        next(future for future in run.adds.done if not future.done()).set_result(None)
        run.go()
    assert run.outcomes == sent == [name for batch in run.adds.begun for name in batch]
    assert run.source.held == 0
