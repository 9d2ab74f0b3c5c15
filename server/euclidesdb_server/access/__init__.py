"""Who may call, and how connections are encrypted: API keys and certificates, as files.

It promises that what is read is whole and usable, or that what was read before stays, with the
reason in the log; and that no secret is ever logged. It knows nothing of calls and transports.
"""

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.access.key_ring import KeyRing

__all__ = ["Certificates", "KeyRing"]
