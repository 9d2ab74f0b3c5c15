"""How a command reaches the server of a configuration on this machine.

It connects to the address that the server listens on. With TLS it trusts the server's certificate
itself, not its authority, which the configuration does not name: who presents it is the server. In
the middle of a renewal, the file has another one than the server, which waits for its key: then the
certificate that the server presents is trusted. Nothing secret is sent to it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from euclidesdb._channel import address as with_port
from euclidesdb_server.commands.configuration import configuration

_NAMES: Final = ("DNS", "IP Address")


def own_server(
    file: Path, given: Mapping[str, Any], timeout: float
) -> tuple[str, tuple[tuple[str, str], ...], dict[str, Any]]:
    """The address, options for a channel, and keywords for the client's credentials.

    given: those of the command line; a certificate of the client, which mutual TLS needs, is among
    them or in the environment. Raises ConfigError, ValueError, OSError.
    """
    config = configuration(file)
    address = _reachable(config.server.address)
    cert = config.tls.cert
    if cert is None:
        return address, (), {**given, "tls": False}
    trusted = cert.read_bytes()
    try:
        name = _name_in_certificate(address, trusted, timeout)
    except OSError as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
        trusted = _presented(address, timeout)
        name = _name_in_certificate(address, trusted, timeout)
    return address, (("grpc.ssl_target_name_override", name),), {**given, "ca": trusted}


def _reachable(listened: str) -> str:
    """The address to connect to, of one to listen on."""
    if listened.startswith("unix:"):
        return listened
    host, _, port = with_port(listened).rpartition(":")
    try:
        wildcard = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return listened
    if not wildcard.is_unspecified:
        return listened
    return f"127.0.0.1:{port}" if wildcard.version == 4 else f"[::1]:{port}"


def _name_in_certificate(address: str, trusted: bytes, timeout: float) -> str:
    """A name for which the certificate that the server presents is valid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is compared
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trusted.decode("ascii", "replace"))
    context.set_alpn_protocols(["h2"])
    try:
        with (
            _connected(address, timeout) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as encrypted,
        ):
            found = encrypted.getpeercert()
    except OSError as error:
        raise OSError(f"{address}: {error}") from error
    names: Any = found.get("subjectAltName", ()) if found else ()
    for kind, name in names:
        if kind in _NAMES:
            return str(name).replace("*", "any", 1)
    raise ValueError(f"{address}: the server's certificate is for no name or address of a host")


def _presented(address: str, timeout: float) -> bytes:
    """The certificate that the server presents, in PEM, whatever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        _connected(address, timeout) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"").encode()


def _connected(address: str, timeout: float) -> socket.socket:
    if address.startswith("unix:"):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(timeout)
        made.connect(address.removeprefix("unix:"))
        return made
    host, _, port = with_port(address).rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)
