"""The file of API keys ([auth] keys_file): read as a whole, replaced as a whole.

JSON, of mode 0600: {"version": 1, "keys": [{"name", "role", "id", "sha256", "created"}, ...]}. It
contains no key, only the SHA-256 of each.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from euclidesdb_server.access.api_keys import NAME, ApiKey
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.system.fsync import sync

VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64
_ID_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class _Contents:
    version: int
    keys: tuple[ApiKey, ...]


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """The keys in a file. Raises ConfigError, FileNotFoundError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read the API keys in {file}: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{file} has more than {MAX_FILE_BYTES:,} bytes: not a file of API keys")
    try:
        contents = msgspec.json.decode(data, type=_Contents)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a file of API keys: {error}") from error
    if contents.version != VERSION:
        raise ConfigError(
            f"{file} has version {contents.version} of the format of API keys; this server reads "
            f"version {VERSION}"
        )
    _check(contents.keys, file)
    return contents.keys


def is_writable_by_others(file: Path) -> bool:
    """Whether users other than the owner could add a key of their own."""
    return bool(file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


@contextmanager
def changed_keys(file: Path) -> Iterator[list[ApiKey]]:
    """The keys in a file, to be changed; written at the end unless an exception ends it.

    A file that is not there has no keys. Others who change it wait meanwhile. Whenever the machine
    stops, the file is the former one or the new one.

    Raises ConfigError.
    """
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"cannot write the API keys to {file}: {error}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            keys = [*read_keys(file)]
        except FileNotFoundError:
            keys = []
        yield keys
        _check(keys, file)
        _replace(file, keys)
    except OSError as error:
        raise ConfigError(f"cannot write the API keys to {file}: {error}") from error
    finally:
        os.close(folder)


def _check(keys: Sequence[ApiKey], file: Path) -> None:
    """Raise ConfigError unless names and ids are of their form, and each there once."""
    for key in keys:
        if NAME.fullmatch(key.name) is None:
            raise ConfigError(
                f"{file}: {key.name!r} cannot be the name of an API key: 1 to 64 letters, digits, "
                "'.', '_' and '-', the first a letter or a digit"
            )
        for value, size in ((key.id, _ID_DIGITS), (key.sha256, _SHA256_DIGITS)):
            if len(value) != size or not set(value) <= set("0123456789abcdef"):
                raise ConfigError(
                    f"{file}: the id or the SHA-256 of the API key {key.name!r} is malformed"
                )
    for part in ("name", "id"):
        values = [getattr(key, part) for key in keys]
        if len(values) != len({*values}):
            twice = next(value for value in values if values.count(value) > 1)
            raise ConfigError(f"{file} has two API keys of the {part} {twice!r}")


def _replace(file: Path, keys: Sequence[ApiKey]) -> None:
    data = msgspec.json.format(msgspec.json.encode(_Contents(VERSION, tuple(keys))), indent=1)
    written = file.with_name(f".{file.name}.{os.getpid()}")
    # of another owner only if root writes for the server's user: it must be able to read it
    owner = file.stat() if file.exists() else file.parent.stat()
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data + b"\n")
            if os.geteuid() == 0:
                os.fchown(opened.fileno(), owner.st_uid, owner.st_gid)
            opened.flush()
            os.fsync(opened.fileno())
        written.replace(file)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    sync(file.parent)
