"""Certificates: what the server proves itself with by TLS; read again when the files change."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from euclidesdb_server.access.trial_handshake import trial_handshake
from euclidesdb_server.config.access import TlsConfig
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.system.file_watch import FileWatch

MAX_PEM_BYTES: Final = 4 << 20
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those with forward secrecy and authenticated encryption, as HTTP/2 demands; TLS 1.3
has no others."""
_READS: Final = 3
"""Attempts to read files that are being replaced."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, checked; the three files as they were, in PEM."""

    context: ssl.SSLContext
    cert: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The server's identity for new connections. Threads may share it.

    identity: the present one; another object after a change.
    """

    def __init__(
        self, config: TlsConfig, where: Callable[[str, str], str], watch: FileWatch
    ) -> None:
        """where: as `Config.where`. Raises ConfigError."""
        self._config = config
        self._where = where
        files = [file for file in (config.cert, config.key, config.client_ca) if file is not None]
        if config.cert is None or config.key is None:
            missing = "cert" if config.cert is None else "key"
            raise ConfigError(
                f"{where('tls', missing)} is missing: a section [tls] needs cert and key"
            )
        watch.add(files, self.reload)  # before they are read
        self.identity = self._read()

    def reload(self) -> None:
        """Read the files again; new connections get what they contain.

        If they cannot be used, the present identity stays, with an error in the log: the key of a
        new certificate may arrive after it.
        """
        try:
            self.identity = self._read()
        except ConfigError as error:
            log.error("the TLS certificate stays as it was: %s", error)
        else:
            log.info("the TLS certificate has been read again; new connections get it")

    def _read(self) -> Identity:
        for _ in range(_READS):
            before = self._contents()
            identity = self._checked(*before)
            if self._contents() == before:
                break
        warning = trial_handshake(identity.context, identity.cert)
        if warning:
            log.warning("%s = %s: %s", self._where("tls", "cert"), self._config.cert, warning)
        return identity

    def _contents(self) -> tuple[bytes, bytes, bytes | None]:
        config = self._config
        if config.cert is None or config.key is None:
            raise AssertionError("checked at the start")
        client_ca = None
        if config.client_ca is not None:
            client_ca = self._bytes("client_ca", config.client_ca)
        return self._bytes("cert", config.cert), self._bytes("key", config.key), client_ca

    def _bytes(self, key: str, file: Path) -> bytes:
        try:
            with file.open("rb") as opened:
                return opened.read(MAX_PEM_BYTES)
        except OSError as error:
            raise ConfigError(
                f"{self._where('tls', key)} = {file}: cannot read it: {error.strerror}"
            ) from error

    def _checked(self, cert: bytes, key: bytes, client_ca: bytes | None) -> Identity:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["h2"])
        # in a context of its own: a server's certificate is not an authority for clients
        self._check_certificates("cert", self._config.cert, cert, _scratch())
        self._load_pair(context)
        if client_ca is not None:
            self._check_certificates("client_ca", self._config.client_ca, client_ca, context)
            context.verify_mode = ssl.CERT_REQUIRED
        return Identity(context, cert, key, client_ca)

    def _check_certificates(
        self, key: str, file: Path | None, data: bytes, context: ssl.SSLContext
    ) -> None:
        try:
            context.load_verify_locations(cadata=data.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"{self._where('tls', key)} = {file}: it should have certificates in PEM "
                f"(-----BEGIN CERTIFICATE-----): {_reason(error)}"
            ) from error

    def _load_pair(self, context: ssl.SSLContext) -> None:
        config = self._config
        where = f"{self._where('tls', 'key')} = {config.key}"
        asked: list[bool] = []

        def password() -> str:
            asked.append(True)
            return ""

        try:
            context.load_cert_chain(str(config.cert), config.key, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            if asked:
                raise ConfigError(
                    f"{where}: it is encrypted with a password, which the server cannot ask for"
                ) from error
            if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError(
                    f"{where}: it is not the key of the certificate {config.cert}"
                ) from error
            raise ConfigError(
                f"{where}: it should have the private key of the certificate {config.cert}, in "
                f"PEM: {_reason(error)}"
            ) from error


def _scratch() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    return (reason or str(error)).replace("_", " ").lower()
