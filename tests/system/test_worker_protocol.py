"""Messages between server and worker: whatever comes, it is a message or a named error."""

import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Pipe

import pytest

from euclidesdb_server.system.worker_protocol import (
    Message,
    MessageReader,
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


def begin(connection):
    """Send a message but for its last three bytes."""
    connection.send_bytes(b'{"type": "run", "parts": [2, 4]}')
    os.write(connection.fileno(), b"one")


def test_a_message_arrives_as_it_was_sent(pipe):
    ours, theirs = pipe
    parts = [b"", b"\0\xff", b"x" * 100_000]
    send_message(ours, {"type": "run", "name": "Ünï"}, parts)
    assert receive_message(theirs) == ({"type": "run", "name": "Ünï"}, parts)


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
        b'{"parts": 1}',
        b'{"parts": [1.5]}',
        b'{"parts": [-1]}',
        b'{"parts": [1073741825]}',
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
        "one part",
        "half a byte",
        "a negative length",
        "a length of more than a gibibyte",
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
    begin(ours)
    ours.close()
    with pytest.raises(EOFError):
        receive_message(theirs)


def test_silence_halfway_is_not_waited_out(pipe):
    ours, theirs = pipe
    limit_silence(theirs, 0.05)
    begin(ours)
    with pytest.raises(BlockingIOError):
        receive_message(theirs)


def test_a_reader_goes_on_after_a_silence(pipe):
    ours, theirs = pipe
    limit_silence(theirs, 0.05)
    reader = MessageReader(theirs)
    begin(ours)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            reader.read()
    os.write(ours.fileno(), b"two")
    assert reader.read() == ({"type": "run"}, [b"on", b"etwo"])


def test_a_reader_reads_messages_that_arrived_together(pipe):
    ours, theirs = pipe
    sent = [({"number": number}, [b"x" * number, b""]) for number in range(100)]
    for header, parts in sent:
        send_message(ours, header, parts)
    reader = MessageReader(theirs)
    assert [reader.read() for _ in sent] == sent


def test_messages_of_any_size_and_number_of_parts_arrive(pipe):
    ours, theirs = pipe
    sent: list[Message] = [
        ({"number": 1}, [b"x" * 3_000_000, b"y"]),
        ({"number": 2, "text": "z" * 200_000}, []),
        ({"number": 3}, [b"%d" % part for part in range(3000)]),
        ({"number": 4}, [b"x" * 70_000] * 40),
    ]
    reader = MessageReader(theirs)
    with ThreadPoolExecutor(1) as sender:
        sending = [sender.submit(send_message, ours, *message) for message in sent]
        assert [reader.read() for _ in sent] == sent
        assert not any(future.exception() for future in sending)


def test_a_message_is_received_without_the_bytes_that_follow(pipe):
    ours, theirs = pipe
    send_message(ours, {"type": "share"}, [b"x" * 100_000])
    os.write(ours.fileno(), b"!")
    assert receive_message(theirs) == ({"type": "share"}, [b"x" * 100_000])
    assert os.read(theirs.fileno(), 10) == b"!"


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
