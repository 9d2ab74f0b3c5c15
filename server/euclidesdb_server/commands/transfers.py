"""`euclidesdb export` and `euclidesdb import`: items to a file and from one, as they are stored."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import address_option, json_option, path, where_option
from euclidesdb_server.commands.printing import counted, print_json, printable

if TYPE_CHECKING:
    import euclidesdb

GO_ON = "to go on, run the same command: what is stored already is not written again"

_model_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A model whose vectors are wanted, or NAME@FINGERPRINT; may be repeated (default: all).",
)


@click.command()
@click.option(
    "--to",
    "target",
    type=path,
    required=True,
    metavar="FILE",
    help="The file to write: .parquet, .arrow, .jsonl or .npz.",
)
@where_option
@_model_option
@click.option("--payloads", is_flag=True, help="Also the images, texts and tensors (not in .npz).")
@address_option
@json_option
def export_items(
    *,
    target: Path,
    where: str | None,
    models: Sequence[str],
    payloads: bool,
    address: str,
    as_json: bool,
) -> int:
    """Write items to a file, with their vectors, predictions, attributes and metadata.

    The items are those of one moment. `euclidesdb import` reads the file.
    """
    with (
        _interruptible(f"nothing was written to {target}"),
        connected(address) as client,
        _files(target),
    ):
        count = client.export_file(
            target,
            where,
            models=models or None,
            include_payloads=payloads,
            progress=sys.stderr.isatty(),
        )
    if as_json:
        print_json({"exported": count, "file": str(target)})
    else:
        print(f"{counted(count)} written to {printable(str(target))}")
    return 0


@click.command()
@click.argument("file", type=path)
@_model_option
@click.option(
    "--vectors",
    "columns",
    type=(str, str),
    multiple=True,
    metavar="COLUMN MODEL",
    help="A column of vectors of this model, in a file that is not an export; may be repeated.",
)
@address_option
@json_option
def import_items(
    *,
    file: Path,
    models: Sequence[str],
    columns: Sequence[tuple[str, str]],
    address: str,
    as_json: bool,
) -> int:
    """Store the items of a file as they were exported; no model is run."""
    if file.suffix.lower() in (".csv", ".tsv"):
        raise click.ClickException(
            f"{file}: an import takes exported items; `euclidesdb add` runs a model over the rows"
        )
    with _interruptible(GO_ON), connected(address) as client, _files(file):
        imported = client.import_file(
            file,
            models=models or None,
            vectors=dict(columns),
            progress=sys.stderr.isatty(),
        )
    _report(imported, file, as_json=as_json)
    return 1 if imported.refused else 0


@contextmanager
def _interruptible(message: str) -> Iterator[None]:
    """Say what an interruption by Ctrl-C means."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; {printable(message)}", file=sys.stderr)
        raise


@contextmanager
def _files(file: Path) -> Iterator[None]:
    """What goes wrong with a file, or with a library that reads it, becomes click's error."""
    try:
        yield
    except (OSError, ImportError, TypeError) as error:
        reason: object = error
        if isinstance(error, FileNotFoundError):
            reason = os.strerror(errno.ENOENT)  # a library may have more words
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise click.ClickException(f"{file}: {reason}") from error


def _report(imported: euclidesdb.Imported, file: Path, *, as_json: bool) -> None:
    from euclidesdb_server.commands.change_text import (  # noqa: PLC0415  needs the client
        change_counts,
        others,
    )

    if as_json:
        errors = [
            {
                "position": each.position,
                "id": each.id,
                "reason": each.reason,
                "message": str(each.error),
            }
            for each in imported.refused
        ]
        counts = change_counts(imported.changes)
        print_json({"imported": imported.items, **counts, "errors": errors})
        return
    changes = imported.changes
    detail = f": {changes.added:,} new{others(changes)}" if others(changes) else ""
    print(f"{counted(imported.items)} imported{detail}")
    sys.stdout.flush()
    for each in imported.refused:
        message = printable(f"{file}: item {each.position} ({each.id}): {each.error}")
        print(f"euclidesdb: {message}", file=sys.stderr)
