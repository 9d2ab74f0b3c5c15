"""Sections [auth] and [tls]: who may call, and how connections are encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from euclidesdb_server.values.role import Role


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Section [auth]."""

    keys_file: Path | None = None
    """The API keys, which `euclidesdb key` writes. With it, a call needs a key."""
    allow_anonymous: bool | None = None
    """Whether calls without a key are answered; None: only if there is no keys_file, on an address
    that other machines cannot reach."""
    anonymous_role: Role | None = None
    """What calls without a key may do; None: `write` with a keys_file, otherwise `admin`."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Section [tls]. Both or neither of cert and key."""

    cert: Path | None = None
    """The server's certificate and those of the authorities between it and the root; PEM."""
    key: Path | None = None
    """The certificate's private key; PEM, not encrypted."""
    client_ca: Path | None = None
    """The authorities whose certificates clients must have; PEM. None: clients need none."""
