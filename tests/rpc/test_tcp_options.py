"""What a socket tells of the bytes that are on their way."""

from __future__ import annotations

import socket
from contextlib import suppress

from euclidesdb_server.rpc.tcp_options import unread_bytes
from tests.support.waiting import wait_for


def test_what_the_other_end_does_not_take_is_on_its_way():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            assert unread_bytes(accepted) == 0
            accepted.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    accepted.send(bytes(1 << 20))
            assert unread_bytes(accepted) > 0

            def is_taken():
                client.recv(1 << 20)
                return unread_bytes(accepted) == 0

            wait_for(is_taken, "all to arrive")
    assert unread_bytes(accepted) == 0  # it is closed


def test_a_unix_socket_has_nothing_on_its_way():
    here, there = socket.socketpair()
    with here, there:
        here.sendall(b"unread")
        assert unread_bytes(here) == 0
    assert unread_bytes(None) == 0
