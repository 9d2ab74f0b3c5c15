"""Which addresses only this machine can reach: anyone else could stop the server."""

from __future__ import annotations

from euclidesdb_server.rpc.server import is_loopback
from tests.support.cases import each_as_subtest


@each_as_subtest(
    "address",
    [
        "127.0.0.1:50000",
        "127.8.9.1:0",
        "localhost:50000",
        "[::1]:50000",
        "unix:/run/euclidesdb.sock",
        "unix:///run/euclidesdb.sock",
    ],
)
def test_an_address_of_this_machine_alone_is_loopback(address):
    assert is_loopback(address)


@each_as_subtest(
    "address",
    [
        "0.0.0.0:50000",
        "[::]:50000",
        ":50000",
        "192.168.1.4:50000",
        "[2001:db8::1]:50000",
        "example.org:50000",
        "localhost.example.org:50000",
        "",
    ],
)
def test_an_address_that_others_reach_is_not_loopback(address):
    assert not is_loopback(address)
