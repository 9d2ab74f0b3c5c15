"""A handshake in memory, which shows what clients would find wrong with a certificate."""

from __future__ import annotations

import ssl
import time
from typing import Final

SOON_DAYS: Final = 14
_EXPIRED, _NOT_YET_VALID, _WRONG_PURPOSE = 10, 9, 26  # of OpenSSL's X509_V_ERR
_WORDS: Final = {
    _EXPIRED: "the certificate has expired, so clients will refuse it",
    _NOT_YET_VALID: "the certificate is not valid yet, so clients will refuse it",
    _WRONG_PURPOSE: "the certificate is not one for a server, so clients will refuse it",
}


def trial_handshake(server: ssl.SSLContext, cert: bytes) -> str:
    """What clients would find wrong with the certificate of a context; empty if nothing.

    cert: the same in PEM. That its authority is trusted, and the name right, only a client can
    tell.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=cert.decode("ascii", "replace"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server)
    try:
        for _ in range(2):
            for side in (here, there):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return _WORDS.get(error.verify_code, f"clients will refuse it: {error.verify_message}")
    except ssl.SSLError:
        pass  # it wants a certificate of the client, which comes after its own
    found = here.getpeercert()
    expires = str(found.get("notAfter", "")) if found else ""
    days = (ssl.cert_time_to_seconds(expires) - time.time()) / 86400 if expires else SOON_DAYS
    return f"the certificate expires on {expires}" if days < SOON_DAYS else ""
