"""The address that the server listens on: read, and checked before anything else is started.

gRPC itself reports any failure to listen alike, and only once the models have loaded; it also takes
over a Unix socket that another server uses.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.socket_lock import SocketLock

DEFAULT_PORT: Final = 50000
UNIX: Final = "unix:"
LOOPBACK: Final = "127.0.0.1"
WHERE: Final = "[server] address"
"""Where an address comes from, if there is neither a configuration file nor an option."""
MAX_SOCKET_PATH_BYTES: Final = 107  # of sun_path in sockaddr_un, without the null byte
ANSWER_TIMEOUT: Final = 1.0
"""Seconds that a server at a Unix socket has to accept a connection; one that takes longer is
there, too."""

# A host's name or address, and a port.
_HOST: Final = re.compile(r"(\[[^\[\]/]+\]|[^\[\]:/\s]+)(?::([^:/]*))?")


def listen_address(address: str, where: str = WHERE) -> str:
    """`address` with a port, in the form that gRPC takes.

    where: where the address comes from, as in `Config.where`. Raises ConfigError.
    """
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        if path.startswith("//") and not path.startswith("///"):
            raise ConfigError(f"{where} = {address!r} should be unix:path or unix:///absolute/path")
        return UNIX + path.removeprefix("//")
    found = _HOST.fullmatch(address)
    if found is None:
        raise ConfigError(
            f"{where} = {address!r} should be host, host:port, [::1]:port or unix:path"
        )
    port = str(DEFAULT_PORT) if found[2] is None else found[2]
    # gRPC takes a port modulo 65536
    if not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise ConfigError(f"{where} = {address!r}: the port should be 0 to 65535")
    return f"{found[1]}:{port}"


def metrics_address(address: str, where: str) -> tuple[str, int]:
    """The host and the port of [metrics] address, a port alone or host:port. Raises ConfigError."""
    if address.startswith(UNIX):
        raise ConfigError(f"{where} = {address!r} should be host:port, or a port")
    found = listen_address(f"{LOOPBACK}:{address}" if address.isdecimal() else address, where)
    host, _, port = found.rpartition(":")
    if (
        _HOST.fullmatch(address)
        and ":" not in address.rpartition("]")[2]
        and (not address.isdecimal())
    ):
        raise ConfigError(f"{where} = {address!r} should be host:port, or a port")
    return host.strip("[]"), int(port)


def check_address(address: str, where: str = WHERE) -> None:
    """Raise ConfigError, with the cause, if the server could not listen on an address.

    address: a result of `listen_address`. where: as there. Nothing accepts connections there
    meanwhile.
    """
    try:
        if address.startswith(UNIX):
            _check_socket(address.removeprefix(UNIX))
        else:
            host, _, port = address.rpartition(":")
            _check_port(host.strip("[]"), int(port))
    except OSError as error:
        raise cannot_listen(error, address, where) from error


def reserve_address(address: str, where: str = WHERE) -> ExitStack:
    """`check_address`; and from then on, until it is closed, no other server takes a Unix socket.

    Raises ConfigError.
    """
    check_address(address, where)
    reserved = ExitStack()
    if address.startswith(UNIX):
        try:
            reserved.callback(SocketLock(Path(address.removeprefix(UNIX))).release)
        except OSError as error:
            raise cannot_listen(error, address, where) from error
    return reserved


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server at the address."""
    if address.startswith(UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cannot_listen(error: OSError, address: str, where: str) -> ConfigError:
    """The error for an address that a server cannot listen on."""
    return ConfigError(f"{where}: cannot listen on {address!r}: {cause_of(error, address)}")


def cause_of(error: OSError, address: str) -> str:
    """Why a server cannot listen, in words."""
    if isinstance(error, socket.gaierror):
        return f"the host is unknown ({error.strerror})"
    text = error.strerror or str(error)
    if address.startswith(UNIX):
        return text
    match error.errno:
        case errno.EADDRINUSE:
            return "another program uses the port"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have the address"
        case errno.EACCES | errno.EPERM:
            return "this user may not use the port; those below 1024 need the rights for it"
    return text


def _check_port(host: str, port: int) -> None:
    """Bind to each address of the host; one is enough, if none is in use."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(f"the host is not a name ({error})") from error
    bound, failure = False, OSError("the host has no address")
    for family, kind, protocol, _, at in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # as gRPC does: connections that a former server has closed do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # only :: is IPv4, too
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
                probe.bind(at)  # without listening, so that no client takes it for the server
                bound = True
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            failure = error
    if not bound:
        raise failure


def _check_socket(path: str) -> None:
    """Refuse a socket at which a server answers. The file of one that has ended is replaced."""
    file = Path(path)
    size = len(os.fsencode(file))
    if size > MAX_SOCKET_PATH_BYTES:
        raise OSError(f"the path has {size} bytes; a socket's may have {MAX_SOCKET_PATH_BYTES}")
    if not file.parent.is_dir():
        raise OSError(f"there is no folder {str(file.parent)!r}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise OSError(f"this user may not write to the folder {str(file.parent)!r}")
    if not os.path.lexists(file):
        return
    if not file.is_socket():
        raise OSError("a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_TIMEOUT)
        try:
            probe.connect(str(file))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a server that was killed
        except TimeoutError:
            pass
        except OSError as error:
            if error.errno != errno.EAGAIN:  # as many connections wait as the other one admits
                raise
    raise OSError("another server answers there")
