"""A proxy in the environment: not used on this machine, named where it is used."""

import socket

import pytest

import euclidesdb
from euclidesdb import _proxy
from tests.client.scripted_server import ScriptedServer
from tests.support.cases import each_as_subtest
from tests.support.errors import error_message

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
DEAD = "http://user:secret@127.0.0.1:9"  # nothing listens there


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for variable in (*VARIABLES, "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_server_on_this_machine_is_reached_without_the_proxy(server, monkeypatch, variable):
    monkeypatch.setenv(variable, DEAD)
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "dns:///localhost", "ipv4:127.0.0.1"):
        with euclidesdb.Client(f"{host}:{server.port}", timeout=20) as db:
            assert db.models() == ()


def test_a_server_at_a_unix_socket_is_reached_without_the_proxy(monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.chdir(tmp_path)  # a socket's path has at most 107 bytes
    with ScriptedServer(address="unix:s"), euclidesdb.Client("unix:s", timeout=20) as db:
        assert db.models() == ()


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_proxy_that_is_in_the_way_is_named_without_its_password(monkeypatch, variable):
    monkeypatch.setenv(variable, DEAD)
    with euclidesdb.Client("db.invalid", timeout=20) as db:
        message = error_message(euclidesdb.Unavailable, db.remove, "a")
    named = f"through the proxy 'http://127.0.0.1:9' of the environment variable {variable}"
    assert named in message
    assert "secret" not in message


def test_a_proxy_that_does_not_answer_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with euclidesdb.Client("db.invalid", timeout=0.5) as db:
            message = error_message(euclidesdb.DeadlineExceeded, db.models)
    assert "through the proxy" in message


@each_as_subtest(
    ("environment", "target"),
    [
        ({}, "db.invalid"),
        ({"grpc_proxy": "", "http_proxy": DEAD}, "db.invalid"),
        ({"http_proxy": "127.0.0.1:9"}, "db.invalid"),
        ({"http_proxy": "socks5://127.0.0.1:9"}, "db.invalid"),
        ({"http_proxy": DEAD, "no_proxy": "example.org, .INVALID"}, "db.invalid"),
        ({"http_proxy": DEAD, "no_grpc_proxy": "invalid", "no_proxy": ""}, "db.invalid:50000"),
        ({"http_proxy": DEAD, "no_proxy": "240.0.0.0/8"}, "240.0.0.1:50000"),
    ],
)
def test_a_proxy_that_is_not_used_is_not_named(monkeypatch, environment, target):
    with monkeypatch.context() as patched:
        for variable, value in environment.items():
            patched.setenv(variable, value)
        with euclidesdb.Client(target, timeout=0.5) as db:
            message = error_message(euclidesdb.EuclidesDBError, db.remove, "a")
    assert "127.0.0.1:9" not in message, "gRPC itself used it"
    assert "proxy" not in message


@each_as_subtest(
    ("address", "local"),
    [
        ("localhost:50000", True),
        ("db.localhost:50000", True),
        ("127.8.9.1:50000", True),
        ("[::1]:50000", True),
        ("[::]:50000", True),
        ("unix:///run/euclidesdb.sock", True),
        ("unix-abstract:euclidesdb", True),
        ("dns:localhost:50000", True),
        ("ipv4:127.0.0.1:7000,127.0.0.2:7000", True),
        ("ipv6:[::1]:7000", True),
        ("ipv4:127.0.0.1:7000,192.168.1.4:7000", False),
        ("dns://8.8.8.8/db.example.org:50000", False),
        ("192.168.1.4:50000", False),
        ("localhost.example.org:50000", False),
        ("[2001:db8::1]:50000", False),
    ],
)
def test_an_address_of_this_machine_is_known_by_its_name(address, local):
    assert _proxy.is_local(address) is local
