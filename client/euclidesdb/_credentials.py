"""How a client proves who it is, and knows whom it talks to: TLS and the API key.

What a caller does not say comes from the environment, so that a program need not be changed for
another server, and no key needs to be on a command line, where every user of the machine sees it.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import grpc
import grpc.aio

from euclidesdb._proxy import is_local

API_KEY_VARIABLE: Final = "EUCLIDESDB_API_KEY"
TLS_VARIABLE: Final = "EUCLIDESDB_TLS"
CA_VARIABLE: Final = "EUCLIDESDB_TLS_CA"
CERT_VARIABLE: Final = "EUCLIDESDB_TLS_CERT"
KEY_VARIABLE: Final = "EUCLIDESDB_TLS_KEY"

_API_KEY: Final = re.compile(r"[!-~]{1,4096}")
_FLAGS: Final = {"": None, "0": False, "1": True, "false": False, "true": True}

PemFile: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes of the file."""


class UnencryptedKeyWarning(UserWarning):
    """An API key is sent over a network without TLS: others there can read it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """tls: whether connections are encrypted. The others are secret or long, and not shown.

    ca: the authorities that a server's certificate must come from; None: those that gRPC brings.
    cert, key: the client's own, if it has one. All in PEM.
    """

    tls: bool = False
    ca: bytes | None = field(default=None, repr=False)
    cert: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    api_key: str = field(default="", repr=False)

    @classmethod
    def of(
        cls,
        *,
        tls: bool | None = None,
        ca: PemFile | None = None,
        cert: PemFile | None = None,
        key: PemFile | None = None,
        api_key: str | None = None,
    ) -> Self:
        """Those that a caller gives, or else the environment. See `Client`.

        Raises ValueError, TypeError, OSError.
        """
        if tls is not None and not isinstance(tls, bool):
            raise TypeError(f"tls must be True, False or None, not {tls!r}")
        if tls is False and not (ca is cert is key is None):
            raise ValueError("tls = False takes no ca, cert and key")
        text = os.environ.get(API_KEY_VARIABLE, "").strip() if api_key is None else api_key
        if not isinstance(text, str) or (text and _API_KEY.fullmatch(text) is None):
            source = API_KEY_VARIABLE if api_key is None else "api_key"
            raise ValueError(f"{source} must be a text of visible ASCII characters, without spaces")
        if tls is False:
            return cls(api_key=text)
        if tls is None and ca is None and cert is None:
            tls = _flag(TLS_VARIABLE)
            if tls is False:
                return cls(api_key=text)
        chosen = {
            "ca": os.environ.get(CA_VARIABLE) if ca is None else ca,
            "cert": os.environ.get(CERT_VARIABLE) if cert is None else cert,
            "key": os.environ.get(KEY_VARIABLE) if key is None else key,
        }
        if bool(chosen["cert"]) != bool(chosen["key"]):
            raise ValueError("a client's certificate needs both cert and key")
        read = {name: _pem(name, value) for name, value in chosen.items() if value}
        return cls(tls=bool(tls or read), api_key=text, **read)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call sends."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def options(self) -> dict[str, Any]:
        """As keywords of `of`: they give the same credentials, whatever the environment says."""
        if not self.tls:
            return {"tls": False, "api_key": self.api_key}
        return {
            "tls": True,
            "ca": self.ca or b"",
            "cert": self.cert or b"",
            "key": self.key or b"",
            "api_key": self.api_key,
        }

    def channel(self, address: str, options: Any) -> grpc.Channel:
        """A channel that connects when it is first used."""
        if self.tls:
            return grpc.secure_channel(address, self._of_channel(), options=options)
        self._warn(address)
        return grpc.insecure_channel(address, options=options)

    def awaited_channel(self, address: str, options: Any) -> grpc.aio.Channel:
        """As `channel`, for the running event loop."""
        if self.tls:
            return grpc.aio.secure_channel(address, self._of_channel(), options=options)
        self._warn(address)
        return grpc.aio.insecure_channel(address, options=options)

    def _of_channel(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)

    def _warn(self, address: str) -> None:
        if self.api_key and not is_local(address):
            warnings.warn(
                f"the API key is sent to {address} without encryption: use tls=True",
                UnencryptedKeyWarning,
                stacklevel=5,
            )


def _flag(variable: str) -> bool | None:
    value = os.environ.get(variable, "").lower()
    if value not in _FLAGS:
        raise ValueError(f"{variable} must be 1 or 0, not {value!r}")
    return _FLAGS[value]


def _pem(name: str, value: PemFile) -> bytes:
    """The bytes of a file. Raises ValueError, TypeError, OSError."""
    if not isinstance(value, bytes | str | os.PathLike):
        raise TypeError(f"{name} must be a path or bytes, not {type(value).__name__}")
    data = value if isinstance(value, bytes) else Path(value).expanduser().read_bytes()
    if b"-----BEGIN " not in data:
        source = "the bytes" if isinstance(value, bytes) else str(value)
        raise ValueError(f"{name}: {source} should be PEM, with a line -----BEGIN ...-----")
    return data
