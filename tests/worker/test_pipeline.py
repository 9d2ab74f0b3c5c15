"""The worker's loop over one connection: every item is answered in its place."""

import threading
from multiprocessing.connection import Pipe

import numpy as np
import pytest
import torch
from PIL import Image

from euclidesdb_server.system.worker_protocol import receive_message, send_message
from euclidesdb_server.worker import pipeline
from euclidesdb_server.worker.pipeline import Pipeline
from tests.support.images import encoded
from tests.worker.odd_programs import Moody, load

BLACK = encoded(Image.new("RGB", (8, 8)))


def gray(value):
    return encoded(Image.new("RGB", (8, 8), (value,) * 3))


@pytest.fixture
def program(tmp_path):
    return load(tmp_path, Moody())


@pytest.fixture
def connection(program):
    ours, theirs = Pipe()
    thread = threading.Thread(target=Pipeline(theirs, program).run)
    thread.start()
    yield ours
    ours.close()
    thread.join(30)
    theirs.close()
    assert not thread.is_alive()


def run(connection, number, parts):
    send_message(connection, {"type": "run", "batch": number}, parts)
    header, (features, predictions) = receive_message(connection)
    assert (header["type"], header["batch"]) == ("done", number)
    assert len(features) == len(predictions)
    return header["errors"], np.frombuffer(features, "<f4").reshape(-1, 3)


def test_each_error_stands_in_the_place_of_its_item(connection):
    errors, features = run(connection, 7, [gray(1), b"junk", BLACK, gray(2), b""])
    kinds = [error and error["kind"] for error in errors]
    assert kinds == [None, "undecodable", "failed", None, "undecodable"]
    assert errors[2]["message"].startswith("model 'tiny' failed on this item: ")
    assert "no light" in errors[2]["message"]
    np.testing.assert_allclose(features[:, 0] * 255, [1, 2], rtol=1e-5)


def test_a_batch_of_nothing_good_has_no_rows(connection):
    errors, features = run(connection, 1, [b"junk", BLACK])
    assert [error["kind"] for error in errors] == ["undecodable", "failed"]
    assert features.shape == (0, 3)


def test_batches_sent_ahead_are_answered_in_order(connection):
    for number in range(3):
        send_message(connection, {"type": "run", "batch": number}, [gray(number + 1)])
    for number in range(3):
        header, (features, _) = receive_message(connection)
        assert header["batch"] == number
        assert np.frombuffer(features, "<f4")[0] * 255 == pytest.approx(number + 1)


def test_a_reader_that_fails_ends_the_worker(connection):
    connection.send_bytes(b"no message")
    # the fixture sees the pipeline end, although nothing answered


def test_an_item_that_cannot_be_decoded_for_whatever_reason_fails_alone(
    connection, program, monkeypatch
):
    def out_of_memory(_data):
        raise MemoryError("no room for it")

    with monkeypatch.context() as patch:
        patch.setattr(program.inputs, "decode", out_of_memory)
        errors, _ = run(connection, 1, [gray(1)])
    assert errors[0]["kind"] == "undecodable"
    assert "no room for it" in errors[0]["message"]
    assert run(connection, 2, [gray(1)])[0] == [None]


class Observed:
    """A module that notes, for each forward pass, its threads and the items decoded before its end.

    decoded: set when as many items are decoded as the test waits for.
    """

    def __init__(self, program, monkeypatch, wanted):
        self.module, self.decode = program.module, program.inputs.decode
        self.items = 0
        self.wanted = wanted
        self.decoded = threading.Event()
        self.threads = []
        monkeypatch.setattr(program, "module", self.run)
        monkeypatch.setattr(program.inputs, "decode", self.decode_and_count)

    def decode_and_count(self, data):
        self.items += 1
        if self.items == self.wanted:
            self.decoded.set()
        return self.decode(data)

    def run(self, images):
        self.threads.append(torch.get_num_threads())
        assert self.decoded.wait(30)
        return self.module(images)


@pytest.mark.parametrize("is_long", [True, False])
def test_the_next_batch_is_decoded_during_a_forward_pass_that_is_long(
    connection, program, monkeypatch, is_long
):
    program.threads = 2
    program._seconds_per_element = 1.0 if is_long else 0.0
    observed = Observed(program, monkeypatch, wanted=2 if is_long else 1)
    for number in range(2):
        send_message(connection, {"type": "run", "batch": number}, [gray(number + 1)])
    for number in range(2):
        assert receive_message(connection)[0]["batch"] == number
    assert observed.threads == ([2, 2] if is_long else [1, 1])


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_items_are_decoded_in_threads_if_that_takes_long(program, monkeypatch, seconds):
    ours, theirs = Pipe()
    with ours, theirs:
        made = Pipeline(theirs, program)
        made._decoding_seconds = seconds
        names = set()
        decode = program.inputs.decode

        def named(data):
            names.add(threading.current_thread().name.partition("_")[0])
            return decode(data)

        monkeypatch.setattr(program.inputs, "decode", named)
        items, rest = made._decode_some([gray(value) for value in (1, 2, 3)])
        assert rest == []
        pixels = [int(each[0, 0, 0]) for each in items if isinstance(each, torch.Tensor)]
        assert pixels == [1, 2, 3]
        assert names == ({"decode"} if seconds else {threading.current_thread().name})
        assert (made._decoding_seconds < seconds) == bool(seconds)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_batch_of_large_items_is_decoded_and_run_in_parts(
    connection, program, monkeypatch, seconds
):
    """A limit of two images, and one thread or several."""
    image = program.inputs.decode(gray(1))
    monkeypatch.setattr(pipeline, "MAX_DECODED_BYTES", 2 * image.nbytes - 1)
    monkeypatch.setattr(pipeline, "SERIAL", 1 - seconds)
    sizes, module = [], program.module

    def noted(images):
        sizes.append(len(images))
        return module(images)

    monkeypatch.setattr(program, "module", noted)
    sent = [gray(1), b"junk", gray(2), gray(3), BLACK, gray(4), gray(5)]
    errors, features = run(connection, 1, sent)
    kinds = [error and error["kind"] for error in errors]
    assert kinds == [None, "undecodable", None, None, "failed", None, None]
    np.testing.assert_allclose(features[:, 0] * 255, [1, 2, 3, 4, 5], rtol=1e-5)
    assert max(sizes) < 5
