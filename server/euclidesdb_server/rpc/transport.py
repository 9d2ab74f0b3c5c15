"""What speaks gRPC with clients: Envoy where it is installed, or grpcio, which always is.

Both serve the same methods, by the same `Answerer`, and pass the same tests.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from euclidesdb_server.config.server import ServerConfig, Transport
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.rpc.envoy import EnvoyListener
from euclidesdb_server.rpc.envoy_process import EnvoyUnavailable, envoy_program
from euclidesdb_server.rpc.grpcio import GrpcioListener
from euclidesdb_server.rpc.listening import WHERE
from euclidesdb_server.rpc.methods import Method

log = logging.getLogger(__name__)


def listen(
    methods: Sequence[Method], config: ServerConfig, *, where: str = WHERE
) -> GrpcioListener | EnvoyListener:
    """Start to serve methods, as the configuration says. where: as in `RpcServer`.

    Raises ConfigError.
    """
    program = None if config.transport is Transport.GRPCIO else envoy_program()
    if program is not None:
        try:
            listener = EnvoyListener(program, methods, config, where=where)
        except EnvoyUnavailable as error:
            if config.transport is Transport.ENVOY:
                raise
            log.warning("transport: grpcio (%s)", error)
            return GrpcioListener(methods, config, where=where)
        log.info("transport: Envoy (%s)", program)
        return listener
    if config.transport is Transport.ENVOY:
        raise ConfigError(
            "[server] transport = envoy: Envoy is not installed; pip install 'euclidesdb[envoy]', "
            "or choose grpcio"
        )
    asked = config.transport is Transport.GRPCIO
    log.info("transport: grpcio (%s)", "as configured" if asked else "Envoy is not installed")
    return GrpcioListener(methods, config, where=where)
