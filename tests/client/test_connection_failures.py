"""If no server answers, the error says what to check, and has no traceback of gRPC above it."""

import pickle
import socket
import traceback

import pytest

import euclidesdb
from euclidesdb import _channel, _connection_failures
from euclidesdb._credentials import Credentials


def failure(target, **options):
    db = euclidesdb.Client(target, timeout=30, retries=0, **options)
    with db, pytest.raises(euclidesdb.ConnectionFailed) as caught:
        db.models()
    return caught.value


def described(details, target, **options):
    to = _channel.Target.of(target, 0, Credentials(**options))
    return str(_connection_failures.connection_failed(details, to))


def test_a_closed_port_on_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
    error = failure(target)
    text = str(error)
    assert text.startswith(f"no server answers at '{target}'. Check: the server runs")
    for each in ("euclidesdb serve", "[server] address", "docker run -p", "gRPC: "):
        assert each in text
    assert error.reason == "unavailable"
    assert type(pickle.loads(pickle.dumps(error))) is euclidesdb.ConnectionFailed


def test_the_traceback_shows_nothing_of_grpc():
    error = failure("127.0.0.1:1")
    shown = "".join(traceback.format_exception(error))
    assert "\neuclidesdb.ConnectionFailed: no server answers" in shown
    assert "_InactiveRpcError" not in shown
    assert "During handling" not in shown


def test_a_socket_that_is_not_there(tmp_path):
    text = str(failure(f"unix:{tmp_path}/nothing.sock"))
    assert "the path is right: there is no file" in text
    assert "docker" not in text


def test_what_is_checked_depends_on_the_address():
    details = "failed to connect to all addresses; last error: Connection refused"
    far = described(details, "db.example.com")
    assert "at 'db.example.com' (that is db.example.com:50000)" in far
    assert "127.0.0.1, which only its own machine reaches" in far
    assert "firewall" in far
    assert "known to DNS" not in far
    assert "known to DNS" in described("DNS resolution failed for db.example.com", "db.example.com")
    assert "that `ca` has signed" in described(details, "db.example.com", tls=True)


def test_a_server_that_expects_tls_is_suspected_when_the_connection_breaks():
    assert "expects TLS (tls=True)" in described("Socket closed", "localhost")
    assert "expects TLS" not in described("Socket closed", "localhost", tls=True)


def test_the_environment_names_the_server(monkeypatch):
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", "db.example.com:7000")
    assert euclidesdb.Client().target == "db.example.com:7000"
    assert euclidesdb.AsyncClient().target == "db.example.com:7000"
    assert euclidesdb.Client("localhost").target == "localhost"
    monkeypatch.delenv("EUCLIDESDB_ADDRESS")
    assert euclidesdb.Client().target == "127.0.0.1:50000"


def test_a_client_prints_where_it_connects_and_nothing_secret():
    db = euclidesdb.Client("localhost:7000", api_key="secret")
    assert repr(db) == "<euclidesdb.Client of 'localhost:7000', timeout 30.0>"
    db.close()
    assert repr(db).endswith(", closed>")
    assert repr(euclidesdb.AsyncClient("unix:/run/db.sock", timeout=None)) == (
        "<euclidesdb.AsyncClient of 'unix:/run/db.sock', timeout None>"
    )


def test_errors_show_under_the_name_that_users_know():
    for name in euclidesdb.__all__:
        kind = getattr(euclidesdb, name)
        if isinstance(kind, type) and issubclass(kind, euclidesdb.EuclidesDBError):
            assert f"{kind.__module__}.{kind.__qualname__}" == f"euclidesdb.{name}"
