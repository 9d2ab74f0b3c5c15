"""`euclidesdb health`: whether a server, its models or one of them can be used.

It asks gRPC's health service, which needs no API key. With --config it asks the server of that
configuration, on this machine, so a container or a supervisor needs to know nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from euclidesdb_server.commands.parameters import (
    address_option,
    client_options,
    complete_files,
    json_option,
    path,
)
from euclidesdb_server.commands.printing import print_json, printable
from euclidesdb_server.errors import ConfigError

if TYPE_CHECKING:
    import grpc

    from euclidesdb._channel import Target

_METHOD: Final = "/grpc.health.v1.Health/Check"


@click.command()
@click.argument("service", default="models")
@click.option(
    "-c",
    "--config",
    type=path,
    shell_complete=complete_files,
    help="Ask the server of this configuration, on this machine, instead of --address.",
)
@address_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds that the answer may take.",
)
@json_option
def health(
    *, service: str, config: Path | None, address: str, timeout: float, as_json: bool
) -> int:
    """Ask whether SERVICE can be used; the exit code is 1 if not.

    SERVICE is "models" for all models (the default), "models/NAME" for one, or "server".
    """
    import grpc  # noqa: PLC0415  when the command runs

    from euclidesdb._channel import Target  # noqa: PLC0415
    from euclidesdb._credentials import Credentials  # noqa: PLC0415

    options: tuple[tuple[str, str], ...] = ()
    try:
        given = {**client_options(click.get_current_context()), "api_key": ""}
        if config is not None:
            from euclidesdb_server.commands.own_server import own_server  # noqa: PLC0415  needs it

            address, options, given = own_server(config, given, timeout)
        target = Target.of(address, 0, Credentials.of(**given))
    except (ConfigError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    try:
        status = _status("" if service == "server" else service, target, options, timeout)
    except grpc.RpcError as error:
        raise click.ClickException(_described(error, target, timeout)) from error
    if as_json:
        print_json({"service": service, "status": status})
    else:
        print(f"{printable(service)}: {status}")
    return 0 if status == "SERVING" else 1


def _status(
    service: str, target: Target, options: tuple[tuple[str, str], ...], timeout: float
) -> str:
    from grpc_health.v1 import health_pb2 as pb  # noqa: PLC0415

    with target.credentials.channel(target.address, [*target.options(), *options]) as channel:
        check = channel.unary_unary(
            _METHOD,
            request_serializer=pb.HealthCheckRequest.SerializeToString,
            response_deserializer=pb.HealthCheckResponse.FromString,
        )
        try:
            request = pb.HealthCheckRequest(service=service)
        except ValueError as error:  # what is not UTF-8
            raise click.ClickException(f"SERVICE: {error}") from error
        answer = check(request, timeout=timeout)
        return str(pb.HealthCheckResponse.ServingStatus.Name(answer.status))


def _described(error: grpc.RpcError, target: Target, timeout: float) -> str:
    import grpc  # noqa: PLC0415

    from euclidesdb._connection_failures import connection_failed  # noqa: PLC0415

    call: Any = error  # each is also a call
    match call.code():
        case grpc.StatusCode.UNAVAILABLE:
            return str(connection_failed(call.details() or "", target))
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"{target.given}: the server has no health service: [server] health = false"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{target.given}: no answer within {timeout:g} s"
    return f"{target.given}: {call.details()}"
