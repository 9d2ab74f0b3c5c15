"""The targets that a client accepts, and the addresses that it passes to gRPC."""

import socket

import pytest

import euclidesdb
from euclidesdb import _channel
from euclidesdb_server.config.server import ServerConfig
from tests.client.scripted_server import ScriptedServer
from tests.support.cases import each_as_subtest


@each_as_subtest(
    ("target", "address"),
    [
        ("localhost", "localhost:50000"),
        ("127.0.0.1", "127.0.0.1:50000"),
        ("[::1]", "[::1]:50000"),
        ("db.example.org:1", "db.example.org:1"),
        ("my_host-2:65535", "my_host-2:65535"),
        ("[::1]:7000", "[::1]:7000"),
        ("[fe80::1%eth0]:7000", "[fe80::1%eth0]:7000"),
        ("unix:euclidesdb.sock", "unix:euclidesdb.sock"),
        ("unix:///run/euclidesdb.sock", "unix:///run/euclidesdb.sock"),
        ("dns:///localhost:7000", "dns:///localhost:7000"),
        ("ipv4:127.0.0.1:7000,127.0.0.2:7000", "ipv4:127.0.0.1:7000,127.0.0.2:7000"),
    ],
)
def test_a_target_without_a_port_gets_that_of_the_server(target, address):
    assert _channel.address(target) == address


def test_the_port_is_the_one_that_a_server_listens_on_by_default():
    assert ServerConfig().address.endswith(f":{_channel.DEFAULT_PORT}")


@each_as_subtest(
    "target",
    [
        "",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:http",
        ":50000",
        "::1",
        "::1:50000",
        "[::1",
        "http://localhost:50000",
        "localhost:50000/",
        "localhost :50000",
        "localhost:50000\n",
    ],
)
def test_an_invalid_target_is_refused_before_anything_is_sent(target):
    with pytest.raises(ValueError, match="target must be") as raised:
        euclidesdb.Client(target)
    assert repr(target) in str(raised.value)


def test_a_target_that_is_not_a_string_is_refused(tmp_path):
    with pytest.raises(TypeError, match="target must be a str, not PosixPath"):
        euclidesdb.Client(tmp_path)


@pytest.mark.parametrize("prefix", ["unix:", "unix://"])
def test_a_server_is_found_at_a_unix_socket(tmp_path, monkeypatch, prefix):
    monkeypatch.chdir(tmp_path)  # a socket's path has at most 107 bytes
    path = "s" if prefix == "unix:" else str(tmp_path / "s")
    with (
        ScriptedServer(address="unix:s") as server,
        euclidesdb.Client(prefix + path, timeout=20) as db,
    ):
        assert db.models() == ()
        assert server.calls("ListModels") == 1


def test_the_home_folder_in_the_path_of_a_socket_is_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        ScriptedServer(address="unix:s") as server,
        euclidesdb.Client("unix:~/s", timeout=20) as db,
    ):
        assert db.models() == ()
        assert server.calls("ListModels") == 1


@each_as_subtest(
    ("target", "says"),
    [
        ("unix:", "name a socket after 'unix:', not 'unix:'"),
        ("unix:///", "name a socket after 'unix:', not 'unix:///'"),
        ("dns:///", "name a host after 'dns:'"),
        ("unix://relative.sock", "unix:path or unix:///absolute/path, not 'unix://relative.sock'"),
        ("unix:~unknown-user/s", "'unix:~unknown-user/s': there is no such home"),
        ("unix:" + "x" * 108, "at most 107 bytes, not 108: 'unix:x"),
    ],
)
def test_a_target_with_a_scheme_that_leads_nowhere_is_refused(target, says):
    with pytest.raises(ValueError, match="target") as raised:
        euclidesdb.Client(target)
    assert says in str(raised.value)


def test_a_server_is_found_at_an_ipv6_address():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with (
        ScriptedServer(address="[::1]:0") as server,
        euclidesdb.Client(f"[::1]:{server.port}", timeout=20) as db,
    ):
        assert db.models() == ()
