"""The HTTP server of the metrics, with clients that are slow, silent or send noise."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest

from euclidesdb_server.monitoring import http_server
from tests.support.servers import start_server
from tests.support.waiting import wait_for

TIMEOUT = 100


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "models").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        start_server(folder / "data", folder / "models", metrics={"address": "0"}) as server,
    ):
        patch.setattr(http_server, "MAX_SECONDS", 1.0)
        host, _, port = server.metrics_address.rpartition(":")
        yield host, int(port)


def scrape(address):
    with urllib.request.urlopen(
        f"http://{address[0]}:{address[1]}/metrics", timeout=TIMEOUT
    ) as got:
        return got.read()


def serving_threads():
    return [each for each in threading.enumerate() if "process_request_thread" in each.name]


def is_ended(connection):
    """Whether the server has ended a connection."""
    connection.settimeout(TIMEOUT)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def test_hundreds_of_silent_connections_keep_no_scraper_out(address):
    silent = [socket.create_connection(address) for _ in range(300)]
    try:
        for _ in range(3):
            assert b"euclidesdb_items" in scrape(address)
        wait_for(
            lambda: len(serving_threads()) <= http_server.MAX_CONNECTIONS + 1, "the end of threads"
        )
    finally:
        for each in silent:
            each.close()


def test_a_client_that_sends_a_byte_now_and_then_is_ended(address):
    with socket.create_connection(address) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    slow.sendall(b"a")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert is_ended(slow)
        finally:
            stop.set()
            dripping.join()


def test_a_client_that_does_not_read_is_ended(address):
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect(address)
        deaf.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_for(lambda: not serving_threads(), "the end of the thread")
    assert scrape(address)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\xff" * 5000 + b"\r\n\r\n",
        b"GET " + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /metrics?name[]=nothing&name[]=\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_noise_ends_its_own_connection_alone(address, noise, capfd):
    with socket.create_connection(address) as noisy:
        noisy.sendall(noise)
        assert is_ended(noisy)
    assert b"euclidesdb_items" in scrape(address)
    assert "Traceback" not in capfd.readouterr().err
