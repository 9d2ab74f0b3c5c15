"""The address that a server listens on, and why it cannot."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.listening import (
    DEFAULT_PORT,
    cause_of,
    check_address,
    is_loopback,
    listen_address,
    reserve_address,
)
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, so that the paths of sockets are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unix_server(path, kind=socket.SOCK_STREAM):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(path)
    return server


@each_as_subtest(
    ("address", "completed"),
    [
        ("127.0.0.1", "127.0.0.1:50000"),
        ("localhost", "localhost:50000"),
        ("[::1]", "[::1]:50000"),
        ("0.0.0.0:7000", "0.0.0.0:7000"),
        ("[::]:0", "[::]:0"),
        ("unix:a.sock", "unix:a.sock"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:///run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_an_address_is_completed_as_a_client_completes_it(address, completed):
    assert listen_address(address) == completed


def test_the_port_is_the_default_of_the_configuration():
    assert ServerConfig().address.endswith(f":{DEFAULT_PORT}")


@each_as_subtest(
    "address", ["127.0.0.1:99999", "127.0.0.1:-1", "localhost:", "[::1]:x", "localhost:²"]
)
def test_an_address_with_an_impossible_port_is_refused(address):
    says = f"[server] address = {address!r}: the port should be 0 to 65535"
    assert says in error_message(ConfigError, listen_address, address)


@each_as_subtest("address", ["", ":50000", "::1", "http://localhost:1", "a b:1", "unix://a.sock"])
def test_what_is_not_an_address_is_refused(address):
    message = error_message(ConfigError, listen_address, address)
    assert message.startswith(f"[server] address = {address!r} should be ")


@each_as_subtest("address", ["127.0.0.1:0", "localhost:0", "0.0.0.0:0", "unix:a.sock"])
def test_an_address_that_can_be_listened_on_passes(here, address):
    check_address(address)
    assert [*here.iterdir()] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_in_use_is_called_that(host):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{host}:{other.getsockname()[1]}"
        message = error_message(ConfigError, check_address, address)
    assert message == (
        f"[server] address: cannot listen on {address!r}: another program uses the port"
    )


def test_a_port_whose_former_connections_linger_is_free():
    with socket.create_server(("127.0.0.1", 0)) as former:
        port = former.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            former.accept()[0].close()  # it closes first, and so waits
    check_address(f"127.0.0.1:{port}")


@each_as_subtest(
    ("address", "says"),
    [
        ("192.0.2.1:0", "this machine does not have the address"),
        ("nowhere.invalid:0", "the host is unknown"),
        (f"{'a' * 70}.invalid:0", "the host is"),
        ("unix:nowhere/a.sock", "there is no folder 'nowhere'"),
        ("unix:" + "ü" * 60, "the path has 120 bytes; a socket's may have 107"),
        ("unix:file", "a file that is not a socket is there"),
        ("unix:folder", "a file that is not a socket is there"),
    ],
)
def test_the_cause_is_named(here, address, says):
    (here / "file").touch()
    (here / "folder").mkdir(exist_ok=True)
    message = error_message(ConfigError, check_address, address)
    assert message.startswith(f"[server] address: cannot listen on {address!r}: ")
    assert says in message


def test_a_port_without_the_rights_for_it_is_called_that():
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert "may not use the port; those below 1024" in cause_of(error, "127.0.0.1:80")


@pytest.mark.parametrize("waiting", [0, 1, 2])
def test_a_socket_with_a_server_is_in_use_however_busy_it_is(here, waiting):
    with unix_server("a.sock") as other:
        other.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect("a.sock")
        message = error_message(ConfigError, check_address, "unix:a.sock")
        for client in clients:
            client.close()
    assert "another server answers there" in message
    assert (here / "a.sock").is_socket()


@pytest.mark.usefixtures("here")
def test_a_socket_of_another_kind_is_not_replaced():
    with unix_server("a.sock", socket.SOCK_DGRAM):
        assert "wrong type" in error_message(ConfigError, check_address, "unix:a.sock")


def test_a_socket_that_a_killed_server_left_is_replaced(here):
    unix_server("a.sock").close()
    check_address("unix:a.sock")
    assert (here / "a.sock").is_socket()


def test_a_reserved_socket_is_another_servers_until_it_is_closed(here):
    with reserve_address("unix:a.sock"):
        message = error_message(ConfigError, reserve_address, "unix:a.sock")
        assert message == (
            "[server] address: cannot listen on 'unix:a.sock': another server uses it: "
            "'a.sock.lock' is locked"
        )
        reserve_address("unix:b.sock").close()
    assert [*here.iterdir()] == []
    reserve_address("unix:a.sock").close()


def test_a_lock_that_a_killed_server_left_keeps_no_server_from_starting(here):
    holder = "import sys; from pathlib import Path\n"
    holder += "from euclidesdb_server.rpc.socket_lock import SocketLock\n"
    holder += "lock = SocketLock(Path('a.sock')); print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert "is locked" in error_message(ConfigError, reserve_address, "unix:a.sock")
        process.kill()
    assert (here / "a.sock.lock").exists()
    with reserve_address("unix:a.sock"):
        assert "is locked" in error_message(ConfigError, reserve_address, "unix:a.sock")


@pytest.mark.usefixtures("here")
def test_of_many_that_reserve_a_socket_at_once_one_holds_it():
    """And again each time that it is closed: the file is removed while others open it."""
    holders, most, lock = 0, 0, threading.Lock()

    def take_turns(turns):
        nonlocal holders, most
        while turns:
            with suppress(ConfigError), reserve_address("unix:a.sock"):
                turns -= 1
                with lock:
                    holders += 1
                    most = max(most, holders)
                with lock:
                    holders -= 1

    threads = [threading.Thread(target=take_turns, args=(300,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (holders, most) == (0, 1)


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
