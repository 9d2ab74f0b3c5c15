"""ConnectionFailed: what to check if no server answers, or a connection breaks.

gRPC's own text is of little help to most people: it is the last line of the message.
"""

from __future__ import annotations

import os
import re
from typing import Final

from euclidesdb._channel import Target
from euclidesdb._errors import ConnectionFailed
from euclidesdb._proxy import is_local

# gRPC's words for a connection that was never there, as against one that broke.
_NEVER_THERE: Final = re.compile(
    "failed to connect|connection refused|DNS|resol|No such file|Connection timed out|handshake"
    "|No route to host|unreachable|Permission denied",
    re.IGNORECASE,
)
_NO_NAME: Final = re.compile("DNS|resol|Name or service", re.IGNORECASE)
_REFUSED: Final = re.compile("Connection refused", re.IGNORECASE)
_NO_SOCKET: Final = re.compile("No such file", re.IGNORECASE)


def connection_failed(details: str, target: Target) -> ConnectionFailed:
    """The error for what gRPC says of a connection."""
    at = repr(target.given)
    if target.given != target.address and not target.address.startswith("unix:"):
        at += f" (that is {target.address})"
    if not _NEVER_THERE.search(details):
        no_tls = "" if target.credentials.tls else ", or it expects TLS (tls=True)"
        return ConnectionFailed(
            f"the connection to the server at {at} broke: it may have stopped, or something "
            f"between may have ended it{no_tls} ({_words(details, target)})",
            "unavailable",
        )
    checks = "; ".join(_checks(details, target))
    return ConnectionFailed(
        f"no server answers at {at}. Check: {checks} ({_words(details, target)})", "unavailable"
    )


def _words(details: str, target: Target) -> str:
    return f"gRPC: {details}; {target.proxy}" if target.proxy else f"gRPC: {details}"


def _checks(details: str, target: Target) -> list[str]:
    """What may be wrong, the likeliest first."""
    if target.address.startswith("unix:"):
        path = target.address.removeprefix("unix:")
        there = "the server runs" if os.path.exists(path) else "the path is right: there is no file"  # noqa: PTH110
        return [there, "the server runs (`euclidesdb serve`) and listens on this socket"]
    checks = []
    if _NO_NAME.search(details):
        checks.append("the host's name is right, and known to DNS")
    checks.append("the server runs (`euclidesdb serve`)")
    checks.append("host and port are those of its `[server] address`")
    if is_local(target.address):
        checks.append("if it runs in a container, its port is published (`docker run -p`)")
    else:
        checks.append("its address is not 127.0.0.1, which only its own machine reaches")
        checks.append("no firewall is between")
    if target.credentials.tls:
        checks.append("it uses TLS, with a certificate for this host that `ca` has signed")
    if target.proxy is not None:
        checks.append(
            f"the proxy of {target.proxy.variable} reaches it, or no_proxy lists the host"
        )
    return checks
