"""The connection of a command to a running server, and its errors in one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from euclidesdb_server.commands.parameters import client_options
from euclidesdb_server.commands.printing import printable

if TYPE_CHECKING:
    import euclidesdb


@contextmanager
def connected(address: str, timeout: float | None = 30.0) -> Iterator[euclidesdb.Client]:
    """A client of the server at `address`.

    Its errors become click's, which end the command with exit code 1.
    """
    import euclidesdb  # noqa: PLC0415  when a command runs

    options = client_options(click.get_current_context())
    try:
        made = euclidesdb.Client(address, timeout=timeout, **options)
    except OSError as error:  # a file of --tls-ca, --tls-cert or --tls-key
        raise click.ClickException(f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    try:
        with _hints_in_lines(euclidesdb.UnknownFieldWarning), made as client:
            yield client
    except (euclidesdb.EuclidesDBError, ValueError) as error:
        raise click.ClickException(described(error, address)) from error


@contextmanager
def _hints_in_lines(kind: type[Warning]) -> Iterator[None]:
    """The client's warnings of a kind as lines on standard error, each once."""
    shown = set[str]()
    others = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any
    ) -> None:
        if not issubclass(category, kind):
            others(message, category, filename, lineno, *more)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"euclidesdb: {printable(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", kind)
        warnings.showwarning = show  # type: ignore[assignment]  # with any further arguments
        yield


def described(error: Exception, address: str) -> str:
    """An error of a call to the server at `address`."""
    import euclidesdb  # noqa: PLC0415  as above

    if isinstance(error, euclidesdb.ConnectionFailed):
        return f"{error}. --address or the variable EUCLIDESDB_ADDRESS names the server"
    if isinstance(error, euclidesdb.Unauthenticated):
        return (
            f"{address}: {error}. A command takes the key from --api-key-file FILE, or from the "
            "variable EUCLIDESDB_API_KEY"
        )
    if isinstance(error, ValueError):  # about an argument, which it names; nothing was sent
        return str(error)
    return f"{address}: {error}"
