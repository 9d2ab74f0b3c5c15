"""TLS by both transports: who gets a connection, changed certificates, half-open handshakes."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import socket
import ssl
import time

import pytest

import euclidesdb
from euclidesdb_server.config.server import Transport
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc import tls
from tests.rpc.test_transports import needs_nghttp2
from tests.support.servers import start_server
from tests.support.tls import Authority
from tests.support.vector_spaces import save_vector_space
from tests.support.waiting import wait_for


@pytest.fixture(params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def transport(request):
    return Transport(request.param)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serve(tmp_path, transport):
    servers = []

    def start(cert, key, **options):
        save_vector_space(tmp_path / "models", feature_dim=3)
        server = start_server(
            tmp_path / "data",
            tmp_path / "models",
            server={"transport": transport},
            tls={"cert": cert, "key": key, **options},
        )
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def client(server, **options):
    return euclidesdb.Client(server.address, timeout=20, **options)


def shown_certificate(server, authority):
    """The certificate that a new connection gets, in DER."""
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as encrypted:
            return encrypted.getpeercert(binary_form=True)


def der_of(cert):
    text = cert.read_text()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])


def test_a_client_that_trusts_the_authority_is_served(serve, authority):
    server = serve(*authority.issue())
    with client(server, ca=authority.file) as db:
        db.add("a", vectors={"given": [1, 2, 3]}, metadata=bytes(1_000_000))
        assert db.get("a").metadata == bytes(1_000_000)
        assert [each.name for each in db.models()] == ["given"]


def test_a_client_that_does_not_trust_the_authority_or_speaks_plain_text_is_not(
    serve, authority, tmp_path
):
    server = serve(*authority.issue())
    for options in ({"tls": True}, {"ca": Authority(tmp_path, "other").file}, {"tls": False}):
        with client(server, **options) as db, pytest.raises(euclidesdb.Unavailable):
            db.models()
    with client(server, ca=authority.pem) as db:
        assert db.models()


@pytest.mark.parametrize("sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_plain_text_is_answered_by_the_end_of_the_connection(serve, authority, sent):
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        plain.sendall(sent)
        received = b""
        while piece := plain.recv(1000):
            received += piece
        assert len(received) < 100  # at most an alert of TLS


def test_clients_must_have_a_certificate_of_the_authority_that_is_configured(
    serve, authority, tmp_path
):
    clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
    server = serve(*authority.issue(), client_ca=clients.file)
    cert, key = clients.issue("client")
    with client(server, ca=authority.file, cert=cert, key=key) as db:
        assert db.models()
    cert, key = others.issue("stranger")
    for options in ({}, {"cert": cert, "key": key}):
        with (
            client(server, ca=authority.file, **options) as db,
            pytest.raises(euclidesdb.Unavailable),
        ):
            db.models()


def test_tls_1_1_is_refused(serve, authority):
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    context = authority.client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)version|EOF"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_speak_http2_with_forward_secrecy(serve, authority, version):
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "h2"
        name = encrypted.cipher()[0]
        assert name.startswith(("TLS_", "ECDHE-"))
        assert "GCM" in name or "CHACHA20" in name


def test_a_changed_certificate_serves_new_connections_and_the_old_ones_go_on(
    serve, authority, caplog
):
    cert, key = authority.issue("changing")
    first = der_of(cert)
    server = serve(cert, key)
    with client(server, ca=authority.file) as db:
        assert db.models()
        assert shown_certificate(server, authority) == first
        authority.issue("changing")
        second = der_of(cert)
        assert second != first
        wait_for(lambda: shown_certificate(server, authority) == second, "the new certificate")
        assert db.models()
        # a certificate whose key is another's: what was read before stays
        shutil.copy(authority.issue("other")[0], cert)
        wait_for(lambda: "stays as it was" in caplog.text, "the error")
        assert "is not the key of the certificate" in caplog.text
        assert shown_certificate(server, authority) == second
        cert.write_text("nothing")
        wait_for(lambda: "should have certificates in PEM" in caplog.text, "the other error")
        assert shown_certificate(server, authority) == second
        authority.issue("changing")
        third = der_of(cert)
        wait_for(lambda: shown_certificate(server, authority) == third, "the third certificate")


def test_an_expired_certificate_is_a_warning(serve, authority, caplog):
    serve(*authority.expired())
    assert "the certificate has expired" in caplog.text


def test_what_is_wrong_with_the_files_is_named(serve, authority, tmp_path):
    cert, key = authority.issue()
    other = authority.issue("other")[1]
    encrypted = tmp_path / "encrypted.key"
    from cryptography.hazmat.primitives import serialization as pem  # noqa: PLC0415

    loaded = pem.load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        loaded.private_bytes(
            pem.Encoding.PEM,
            pem.PrivateFormat.PKCS8,
            pem.BestAvailableEncryption(b"secret"),
        )
    )
    wrong = [
        ((cert, None), {}, r"\[tls\] key is missing"),
        ((None, None), {"client_ca": authority.file}, r"\[tls\] cert is missing"),
        ((cert, other), {}, rf"\[tls\] key = {other}: it is not the key of the certificate"),
        ((key, key), {}, rf"\[tls\] cert = {key}: it should have certificates in PEM"),
        ((cert, cert), {}, rf"\[tls\] key = {cert}: it should have the private key"),
        ((cert, encrypted), {}, "encrypted with a password"),
        ((tmp_path / "none", key), {}, r"cannot read it: No such file"),
        ((cert, key), {"client_ca": key}, rf"\[tls\] client_ca = {key}: it should have"),
    ]
    for files, options, words in wrong:
        with pytest.raises(ConfigError, match=words):
            serve(*files, **options)


@needs_nghttp2
@pytest.mark.parametrize("transport", [Transport.NGHTTP2])
def test_half_open_handshakes_are_limited_in_number_and_time(serve, authority, monkeypatch):
    monkeypatch.setattr(tls, "MAX_HANDSHAKES", 5)
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 3.0)
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    begun = time.monotonic()
    idle = [socket.create_connection((host, int(port)), timeout=60) for _ in range(12)]
    for each in idle[::2]:
        each.sendall(b"\x16\x03\x01\x02\x00")  # the beginning of a handshake
    with client(server, ca=authority.file) as db:
        assert db.models()  # though there are as many as there may be
    for each in idle:
        assert closed(each)
        each.close()
    assert time.monotonic() - begun >= 2.5, "some had their time"


def closed(connection):
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@needs_nghttp2
@pytest.mark.parametrize("transport", [Transport.NGHTTP2])
def test_a_client_that_sends_a_window_of_data_at_once_is_answered(serve, authority):
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = authority.client_context()
    tls_client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        while True:
            try:
                tls_client.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(1 << 16))
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
        headers = b"".join(
            bytes((0, len(name))) + name + bytes((len(value),)) + value
            for name, value in (
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":path", b"/euclidesdb.v1.FeatureDatabase/GetItem"),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
            )
        )
        sent = preface + len(headers).to_bytes(3, "big") + b"\x01\x04\0\0\0\x01" + headers
        message = b"\0" + (100_000).to_bytes(4, "big") + bytes(65_530)
        for at in range(0, len(message), 16_384):
            piece = message[at : at + 16_384]
            sent += len(piece).to_bytes(3, "big") + b"\0\0\0\0\0\x01" + piece
        tls_client.write(sent)
        plain.sendall(outgoing.read())  # with the end of the handshake
        incoming.write(plain.recv(1 << 16))
        assert tls_client.read(9)[3] == 4, "the server's settings"


@needs_nghttp2
@pytest.mark.parametrize("transport", [Transport.NGHTTP2])
def test_a_client_that_does_not_offer_http2_or_sends_too_much_is_closed(serve, authority, caplog):
    caplog.set_level("INFO")
    server = serve(*authority.issue())
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        context = authority.client_context(alpn=())
        with context.wrap_socket(plain, server_hostname="localhost") as encrypted:
            assert closed(encrypted)
    assert "does not offer HTTP/2" in caplog.text
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        # a record of a handshake that goes on and on
        plain.sendall(b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(300_000))
        plain.settimeout(60)
        received = b""
        try:
            while piece := plain.recv(1000):
                received += piece
        except ConnectionResetError:
            pass
        assert len(received) < 100


def test_the_key_and_the_certificate_do_not_appear_in_the_log(serve, authority, caplog):
    caplog.set_level("DEBUG")
    cert, key = authority.issue()
    server = serve(cert, key)
    with client(server, ca=authority.file, api_key="a-secret-of-mine") as db:
        assert db.models()
        assert "a-secret-of-mine" not in repr(db)
    assert "a-secret-of-mine" not in caplog.text
    assert key.read_text().splitlines()[1] not in caplog.text


def test_a_copy_of_a_client_has_its_credentials(serve, authority):
    server = serve(*authority.issue())
    with (
        client(server, ca=authority.file, api_key="k") as db,
        pickle.loads(pickle.dumps(db)) as copy,
    ):
        assert copy.models()
        assert copy._connection.target.credentials == db._connection.target.credentials


def test_an_async_client_is_served_as_well(serve, authority):
    server = serve(*authority.issue())

    async def names():
        async with euclidesdb.AsyncClient(server.address, ca=authority.pem, timeout=20) as db:
            return [each.name for each in await db.models()]

    assert asyncio.run(names()) == ["given"]
