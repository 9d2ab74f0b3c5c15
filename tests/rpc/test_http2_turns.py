"""A connection that sends much at once is read in turns with the others."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from euclidesdb_server.rpc.http2_turns import (
    MAX_HELD_BYTES,
    MIN_SLICE,
    TURN_SECONDS,
    Held,
    ReadInTurns,
)

DATA = bytes(itertools.islice(itertools.cycle(range(256)), 100_000))


class Reader(asyncio.Protocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.slices: list[bytes] = []
        self.ended = False
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.slices.append(data)

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True


class Transport(asyncio.Transport):
    """Knows whether it is read."""

    paused = False
    closed = False

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def slow_reading(monkeypatch):
    """Each slice takes as long as a turn, and a little more."""
    ticks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(ticks) * 1.1 * TURN_SECONDS)


def connected(held: Held | None = None) -> tuple[ReadInTurns, Reader, Transport]:
    reader, transport = Reader(), Transport()
    turns = ReadInTurns(reader, held or Held())
    turns.connection_made(transport)
    return turns, reader, transport


async def passes(count: int = 1000) -> None:
    """Let the loop do what is due, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_fits_into_a_slice_is_handed_on_at_once():
    turns, reader, transport = connected()
    turns.data_received(DATA[:MIN_SLICE])
    assert reader.slices == [DATA[:MIN_SLICE]]
    assert not transport.paused


@pytest.mark.usefixtures("slow_reading")
def test_others_are_served_between_the_slices_of_what_is_slow_to_read():
    async def read() -> None:
        turns, reader, transport = connected()
        turns.data_received(DATA)
        counts = []
        while transport.paused:
            counts.append(len(reader.slices))
            await asyncio.sleep(0)
        assert counts == [*range(1, len(counts) + 1)]  # a slice each time that the loop goes round
        assert b"".join(reader.slices) == DATA

    asyncio.run(read())


def test_what_is_quick_to_read_takes_one_turn_of_growing_slices():
    turns, reader, transport = connected()
    turns.data_received(DATA)
    if not transport.paused:  # a busy machine may make it two
        assert b"".join(reader.slices) == DATA
        assert len(reader.slices) < len(DATA) / MIN_SLICE


@pytest.mark.usefixtures("slow_reading")
def test_the_end_comes_after_all_that_arrived_before_it():
    async def read() -> None:
        turns, reader, transport = connected()
        turns.data_received(DATA)
        assert turns.eof_received()
        assert not reader.ended
        await passes()
        assert b"".join(reader.slices) == DATA
        assert (reader.ended, transport.closed) == (True, True)

    asyncio.run(read())


@pytest.mark.usefixtures("slow_reading")
def test_what_waits_is_dropped_with_its_connection():
    async def read() -> None:
        held = Held()
        turns, reader, _ = connected(held)
        turns.data_received(DATA)
        assert held.bytes == len(DATA) - MIN_SLICE
        turns.connection_lost(None)
        await passes()
        assert (len(reader.slices), reader.lost, held.bytes) == (1, True, 0)

    asyncio.run(read())


@pytest.mark.usefixtures("slow_reading")
def test_nothing_is_handed_on_once_the_connection_is_closed():
    async def read() -> None:
        turns, reader, transport = connected()
        turns.data_received(DATA)
        transport.close()
        await passes()
        assert len(reader.slices) == 1

    asyncio.run(read())


@pytest.mark.usefixtures("slow_reading")
def test_more_than_may_wait_is_read_at_once():
    held = Held()
    held.bytes = MAX_HELD_BYTES
    turns, reader, transport = connected(held)
    turns.data_received(DATA)
    assert b"".join(reader.slices) == DATA
    assert (held.bytes, transport.paused) == (MAX_HELD_BYTES, False)


@pytest.mark.usefixtures("slow_reading")
def test_what_arrives_although_reading_is_paused_follows_in_order():
    async def read() -> None:
        turns, reader, _ = connected()
        turns.data_received(DATA)
        turns.data_received(DATA[:500])
        await passes()
        assert b"".join(reader.slices) == DATA + DATA[:500]

    asyncio.run(read())
