"""`euclidesdb key create`, `list` and `revoke`: the API keys of a server, in its file of keys."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from euclidesdb_server.access.api_keys import NAME, new_key
from euclidesdb_server.access.key_file import changed_keys, read_keys
from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.commands.parameters import complete_files, json_option, path
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.values.role import Role

_config = click.option(
    "-c",
    "--config",
    type=path,
    shell_complete=complete_files,
    help="The server's configuration file, whose [auth] keys_file is used.",
)
_keys_file = click.option(
    "--keys-file", type=path, shell_complete=complete_files, help="The file of API keys."
)


@click.group()
def key() -> None:
    """Make, list and revoke the API keys of a server.

    A running server notices a change within a second or two.
    """


@key.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="read: search and get; write: also add and remove; admin: everything.",
)
@click.option(
    "--output",
    type=path,
    shell_complete=complete_files,
    help="Write the key to a new file, which only its owner can read, and do not print it.",
)
@_config
@_keys_file
def create(
    *, name: str, role: str, output: Path | None, config: Path | None, keys_file: Path | None
) -> None:
    """Make a key, and print it: this once, as only its SHA-256 is kept."""
    if NAME.fullmatch(name) is None:
        raise click.BadParameter(
            f"{name!r} is not 1 to 64 letters, digits, '.', '_' and '-' that begin with a letter "
            "or a digit"
        )
    file = _file(config, keys_file)
    text, made = new_key(name, Role(role), datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        with changed_keys(file) as keys:
            if any(other.name == name for other in keys):
                raise click.ClickException(
                    f"{file} has an API key named {name!r} already: choose another name, and "
                    "revoke the old key once its callers use the new one"
                )
            keys.append(made)
            if output is not None:
                _write_secret(output, text)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    if output is None:
        print(text)
        print(f"{name}, role {role}. The key is not shown again.", file=sys.stderr)


@key.command("list")
@_config
@_keys_file
@json_option
def list_keys(*, config: Path | None, keys_file: Path | None, as_json: bool) -> None:
    """Show the names, roles and ids of the keys."""
    file = _file(config, keys_file)
    try:
        keys = read_keys(file)
    except FileNotFoundError as error:
        raise click.ClickException(
            f"{file} does not exist: `euclidesdb key create` makes it"
        ) from error
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        shown = [
            {"name": each.name, "role": each.role, "id": each.id, "created": each.created}
            for each in keys
        ]
        print(json.dumps(shown))
        return
    width = max((len(each.name) for each in keys), default=0)
    for each in keys:
        print(f"{each.name:<{width}}  {each.role:<5}  {each.id}  {each.created}")
    if not keys:
        print(f"there are no API keys in {file}", file=sys.stderr)


@key.command()
@click.argument("name")
@_config
@_keys_file
def revoke(*, name: str, config: Path | None, keys_file: Path | None) -> None:
    """Take a key out of the file: its callers are refused from then on."""
    file = _file(config, keys_file)
    try:
        with changed_keys(file) as keys:
            rest = [each for each in keys if each.name != name]
            if len(rest) == len(keys):
                raise click.ClickException(f"{file} has no API key named {name!r}")
            keys[:] = rest
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _file(config: Path | None, keys_file: Path | None) -> Path:
    if (config is None) == (keys_file is None):
        raise click.UsageError("give one of --config and --keys-file")
    if keys_file is not None:
        return keys_file
    try:
        file = configuration(config).auth.keys_file
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    if file is None:
        raise click.ClickException(f"{config} has no [auth] keys_file")
    return file


def _write_secret(file: Path, text: str) -> None:
    """Write a key to a new file of mode 0600. Raises ClickException."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text + "\n")
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from error
