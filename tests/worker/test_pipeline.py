"""The worker's loop over one connection: every item is answered in its place."""

import threading
from multiprocessing.connection import Pipe

import numpy as np
import pytest
from PIL import Image

from euclidesdb_server.system.worker_protocol import receive_message, send_message
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
