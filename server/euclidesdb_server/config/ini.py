"""INI sections as frozen dataclasses, with errors that name file, section and key.

A settings class is a frozen dataclass whose fields are the section's keys. pydantic parses values
such as "yes", "on" and "12", and checks types and `annotated_types` limits. Like EuclidesDB's own
reader (inih), this one ignores the case of sections and keys, and allows a `;` comment after a
value.
"""

from __future__ import annotations

import configparser
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from euclidesdb_server.config.paths import given_path, resolved
from euclidesdb_server.errors import ConfigError


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",")) if value.strip() else ()


CommaSeparated = BeforeValidator(_split)
"""Annotates a tuple whose values are separated by commas in the file."""


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


SettingsClass = TypeVar("SettingsClass", bound=Settings)


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """The sections of an INI file, with names and keys in lower case.

    Raises ConfigError if the file cannot be read or is not an INI file.
    """
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";",), default_section="\0none"
    )
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except configparser.Error as error:
        raise ConfigError(f"{path} is not an INI file: {error}") from error
    sections: dict[str, dict[str, str]] = {}
    for name in parser.sections():
        if name.lower() in sections:
            raise ConfigError(f"{path} has two sections [{name}]; their case is ignored")
        sections[name.lower()] = dict(parser[name])
    return sections


def parse_section(
    kind: type[SettingsClass], section: Mapping[str, str], *, file: Path | None, name: str
) -> SettingsClass:
    """`section` as a `kind`; relative paths are resolved against the folder of `file`.

    Raises ConfigError for an unknown or missing key or a malformed value.
    """
    location = f"{file or 'options'}: [{name}]"
    keys = [field.name for field in dataclasses.fields(kind) if field.init]
    for key in section:
        if key not in keys:
            raise ConfigError(f"{location} has no key {key!r}; its keys are {', '.join(keys)}")
    try:
        settings = TypeAdapter(kind).validate_python(dict(section))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "?"
        value = f" = {section[key]!r}" if key in section else ""
        raise ConfigError(f"{location} {key}{value}: {first['msg']}") from error
    paths = {key for key in keys if isinstance(getattr(settings, key), Path)}
    anchored: dict[str, Path] = {}
    for key in paths:
        try:
            path = given_path(section[key]) if key in section else getattr(settings, key)
            anchored[key] = path if file is None else resolved(path, file.parent)
        except ConfigError as error:
            raise ConfigError(f"{location} {key} = {error}") from error
    return dataclasses.replace(settings, **anchored) if anchored else settings
