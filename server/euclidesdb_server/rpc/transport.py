"""What speaks gRPC with clients: nghttp2 where it is installed, or grpcio, which always is.

Both serve the same methods, by the same `Answerer`, and pass the same tests.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from euclidesdb_server.access.certificates import Certificates
from euclidesdb_server.config.server import ServerConfig, Transport
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.access import Access
from euclidesdb_server.rpc.call_measures import CallObserver
from euclidesdb_server.rpc.grpcio import GrpcioListener
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.listening import WHERE
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.rpc.nghttp2_library import Nghttp2Unavailable

log = logging.getLogger(__name__)


def listen(
    methods: Sequence[Method],
    config: ServerConfig,
    *,
    access: Access | None = None,
    observers: Sequence[CallObserver] = (),
    certificates: Certificates | None = None,
    where: str = WHERE,
) -> GrpcioListener | Http2Listener:
    """Start to serve methods, as the configuration says.

    access: None: every call is admitted. certificates: None: connections are not encrypted.
    observers: what is to know of calls. where: as in `RpcServer`. Raises ConfigError.
    """
    access = access or Access()
    reason = "as configured"
    if config.transport is not Transport.GRPCIO:
        try:
            listener = Http2Listener(
                methods, config, access, certificates, observers=observers, where=where
            )
        except Nghttp2Unavailable as error:
            if config.transport is Transport.NGHTTP2:
                raise ConfigError(
                    f"[server] transport = nghttp2: {error}; install it, or choose grpcio"
                ) from error
            reason = str(error)
        else:
            log.info("transport: nghttp2")
            return listener
    log.info("transport: grpcio (%s)", reason)
    return GrpcioListener(methods, config, access, certificates, observers=observers, where=where)
