"""Options and kinds of values that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from euclidesdb_server.config.paths import given_path
from euclidesdb_server.errors import ConfigError

DEFAULT_ADDRESS: Final = "127.0.0.1:50000"


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
        raise click.BadParameter(f"{value!r} is not valid JSON: {error}") from error
    if not isinstance(made, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object, such as {{"price": 10}}')
    return made


def assignment(value: str | tuple[str, Any]) -> tuple[str, Any]:
    """The key and the value of `KEY=VALUE`; the value is JSON if it is valid, otherwise a text.

    Raises BadParameter.
    """
    if isinstance(value, tuple):
        return value
    key, equals, text = value.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE, such as price=10")
    try:
        return key, json.loads(text)
    except (ValueError, RecursionError):
        return key, text


address_option: Final = click.option(
    "--address",
    envvar="EUCLIDESDB_ADDRESS",
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    help="The server: host, host:port or unix:path.",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
where_option: Final = click.option(
    "--where",
    metavar="EXPR",
    help="""Only items that match, such as 'price < 10 and color == "red"'.""",
)
