"""The connection of a command to a running server, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import euclidesdb


@contextmanager
def connected(address: str, timeout: float | None = 30.0) -> Iterator[euclidesdb.Client]:
    """A client of the server at `address`.

    Its errors become click's, which end the command with exit code 1.
    """
    import euclidesdb  # noqa: PLC0415  when a command runs

    try:
        with euclidesdb.Client(address, timeout=timeout) as client:
            yield client
    except (euclidesdb.EuclidesDBError, ValueError) as error:
        raise click.ClickException(described(error, address)) from error


def described(error: Exception, address: str) -> str:
    """An error of a call to the server at `address`."""
    import euclidesdb  # noqa: PLC0415  as above

    if isinstance(error, euclidesdb.ConnectionFailed):  # it names the address
        return str(error)
    if isinstance(error, ValueError):  # about an argument, which it names; nothing was sent
        return str(error)
    return f"{address}: {error}"
