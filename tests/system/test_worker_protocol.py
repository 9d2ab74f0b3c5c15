"""Messages between server and worker: whatever comes, it is a message or a named error."""

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Pipe

import pytest

from euclidesdb_server.system.worker_protocol import (
    ProtocolError,
    limit_silence,
    receive_message,
    send_message,
    shut_down,
)


@pytest.fixture
def pipe():
    ours, theirs = Pipe()
    with ours, theirs:
        yield ours, theirs


def test_a_message_arrives_as_it_was_sent(pipe):
    ours, theirs = pipe
    parts = [b"", b"\0\xff", b"x" * 100_000]
    send_message(ours, {"type": "run", "name": "Ünï"}, parts)
    assert receive_message(theirs) == ({"type": "run", "name": "Ünï", "parts": 3}, parts)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x80\x04K\x01.",
        b"[]",
        b"3",
        b"null",
        b"{}",
        b'{"parts": null}',
        b'{"parts": 1.5}',
        b"[" * 100_000,
    ],
    ids=[
        "empty",
        "pickle",
        "list",
        "number",
        "null",
        "no parts",
        "null parts",
        "half a part",
        "deep",
    ],
)
def test_a_malformed_message_is_a_protocol_error(pipe, frame):
    ours, theirs = pipe
    ours.send_bytes(frame)
    with pytest.raises(ProtocolError, match="not a message"):
        receive_message(theirs)


def test_an_end_halfway_is_an_end(pipe):
    ours, theirs = pipe
    ours.send_bytes(b'{"parts": 2}')
    ours.send_bytes(b"one")
    ours.close()
    with pytest.raises(EOFError):
        receive_message(theirs)


def test_silence_halfway_is_not_waited_out(pipe):
    ours, theirs = pipe
    limit_silence(theirs, 0.05)
    ours.send_bytes(b'{"parts": 2}')
    ours.send_bytes(b"one")
    with pytest.raises(BlockingIOError):
        receive_message(theirs)


def test_a_limit_on_silence_does_not_limit_sending(pipe):
    ours, theirs = pipe
    limit_silence(theirs, 0.05)
    send_message(theirs, {"type": "run"}, [b"x" * 1000])
    assert receive_message(ours)[1] == [b"x" * 1000]


def test_to_shut_down_ends_both_sides_though_a_thread_reads(pipe):
    ours, theirs = pipe
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(receive_message, ours)
        send_message(ours, {})  # it is there, and reads
        assert not reading.done()
        shut_down(ours)
        assert isinstance(reading.exception(10), EOFError)
    receive_message(theirs)
    with pytest.raises(EOFError):
        receive_message(theirs)
    shut_down(theirs)
