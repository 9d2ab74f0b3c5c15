"""Options and kinds of values that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from euclidesdb_server.config.paths import given_path
from euclidesdb_server.errors import ConfigError

DEFAULT_ADDRESS: Final = "127.0.0.1:50000"
ADDRESS_VARIABLE: Final = "EUCLIDESDB_ADDRESS"


# Functions as types, whose names are in the help in capital letters.


def path(value: str | Path) -> Path:
    """A path as a person gives it: see `config/paths.py`. Raises BadParameter."""
    if isinstance(value, Path):
        return value
    try:
        return given_path(value)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


def json_object(value: str | dict[str, Any]) -> dict[str, Any]:
    """A JSON object as a dict. Raises BadParameter."""
    if isinstance(value, dict):
        return value
    try:
        made = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{value!r:.100} is not valid JSON: {error}") from error
    if not isinstance(made, dict):
        raise click.BadParameter(f'{value!r:.100} is not a JSON object, such as {{"price": 10}}')
    return made


def assignment(value: str | tuple[str, Any]) -> tuple[str, Any]:
    """The key and the value of `KEY=VALUE`; the value is JSON if it is valid, otherwise a text.

    Raises BadParameter.
    """
    if isinstance(value, tuple):
        return value
    key, equals, text = value.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{value!r:.100} is not of the form KEY=VALUE, such as price=10")
    try:
        return key, json.loads(text)
    except (ValueError, RecursionError):
        return key, text


def complete_files(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Let the shell complete the names of files."""
    return [CompletionItem(incomplete, type="file")]


def complete_models(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """The models of the server, if it answers at once."""
    import euclidesdb  # noqa: PLC0415  when it is needed

    address = ctx.params.get("address") or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    try:
        with euclidesdb.Client(address, timeout=1, **client_options(ctx)) as client:
            names = [model.name for model in client.models()]
    except (click.ClickException, euclidesdb.EuclidesDBError, OSError, ValueError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def client_options(ctx: click.Context) -> dict[str, Any]:
    """The keywords for a `Client` that the options of a command stand for: TLS and the API key.

    Raises ClickException.
    """
    given: dict[str, Any] = dict(ctx.meta.get(_OPTIONS, {}))
    file: Path | None = given.pop("api_key_file", None)
    if file is not None:
        try:
            given["api_key"] = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"--api-key-file: cannot read {file}: {error}") from error
    return given


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        ctx.meta.setdefault(_OPTIONS, {})[_KEYWORDS[param.name]] = value


_OPTIONS: Final = "euclidesdb.client_options"
_KEYWORDS: Final = {
    "tls": "tls",
    "tls_ca": "ca",
    "tls_cert": "cert",
    "tls_key": "key",
    "api_key_file": "api_key_file",
}


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--address` and how to connect: an API key is taken from a file or from the environment.

    Never from the command line, which all users of the machine can see.
    """
    files = {
        "--tls-ca": "PEM file of the authorities that the server's certificate must come from.",
        "--tls-cert": "PEM file of this client's certificate.",
        "--tls-key": "PEM file of that certificate's private key.",
        "--api-key-file": "File of the API key (or set the variable EUCLIDESDB_API_KEY).",
    }
    for name, text in reversed(files.items()):
        variable = "EUCLIDESDB" + name[1:].replace("-", "_").upper()
        command = click.option(
            name,
            type=path,
            envvar=variable,
            expose_value=False,
            callback=_keep,
            shell_complete=complete_files,
            help=text,
        )(command)
    command = click.option(
        "--tls",
        is_flag=True,
        default=None,
        envvar="EUCLIDESDB_TLS",
        expose_value=False,
        callback=_keep,
        help="Encrypt the connection; implied by the options --tls-....",
    )(command)
    return click.option(
        "--address",
        envvar=ADDRESS_VARIABLE,
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        help="The server: host, host:port or unix:path.",
    )(command)


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
state_option: Final = click.option(
    "--state",
    type=click.Choice(("done", "failed", "superseded", "missing")),
    help="Only items in this state in a model.",
)
model_of_state_option: Final = click.option(
    "--model",
    metavar="NAME",
    shell_complete=complete_models,
    help="The model of --state (default: any).",
)
where_option: Final = click.option(
    "--where",
    metavar="EXPR",
    help="""Only items that match, such as 'price < 10 and color == "red"'.""",
)
