"""Certificates for tests: authorities, servers' and clients' identities, as PEM files."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme


class Authority:
    """An authority of certificates, with its own in `file`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._made = trustme.CA(organization_name=name)
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self.pem = self._made.cert_pem.bytes()
        self.file.write_bytes(self.pem)

    def issue(self, name: str = "server", **options: Any) -> tuple[Path, Path]:
        """A certificate for `localhost` and 127.0.0.1, and its key; files of that name replaced."""
        issued = self._made.issue_cert("localhost", "127.0.0.1", **options)
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key

    def expired(self, name: str = "expired") -> tuple[Path, Path]:
        """As `issue`, of yesterday."""
        return self.issue(name, not_after=datetime.now(UTC) - timedelta(days=1))

    def client_context(self, *, alpn: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
        """Of a client that trusts this authority."""
        context = ssl.create_default_context(cadata=self.pem.decode("ascii"))
        if alpn:
            context.set_alpn_protocols(alpn)
        return context
