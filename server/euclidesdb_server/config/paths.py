"""Paths as a person gives them, in the configuration or on the command line.

`~` is the home folder. Nothing else is expanded: a path that a shell would have changed, if it had
seen it, is refused rather than made a folder of that name. Imports nothing that a client lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from euclidesdb_server.errors import ConfigError

_QUOTES: Final = ("'", '"')


def given_path(text: str) -> Path:
    """The path that `text` names; a relative one stays relative.

    Raises ConfigError for an empty text, one with `$` or in quotes, and an unknown home folder.
    """
    if not text or "\0" in text:
        raise ConfigError(f"{text!r}: a path must not be empty or contain a null character")
    if "$" in text:
        raise ConfigError(
            f"{text!r}: environment variables are not expanded here: write the path without $"
        )
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        raise ConfigError(f"{text!r}: quotes are not removed here: write the path without them")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text!r}: there is no such home folder: set HOME") from error


def given_address(address: str, start: Path | None = None) -> str:
    """`address`; if it names a Unix socket, with its path as `given_path` gives it.

    start: where a relative path begins; None: it stays relative. Raises ConfigError.
    """
    scheme, _, text = address.partition(":")
    if scheme != "unix" or text.startswith("//"):
        return address
    path = given_path(text)
    return f"unix:{path if start is None else start / path}"


def resolved(path: Path, start: Path | None = None) -> Path:
    """`path`, absolute and without links; start: where a relative one begins.

    Raises ConfigError if its links lead nowhere.
    """
    try:
        return (path if start is None else start / path).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ConfigError(f"{str(path)!r} cannot be followed: {error}") from error
