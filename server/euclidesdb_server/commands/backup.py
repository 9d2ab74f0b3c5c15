"""`euclidesdb backup`, `backups`, `verify-backup` and `restore`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import (
    address_option,
    complete_files,
    json_option,
    path,
)
from euclidesdb_server.commands.printing import counted, print_json, print_table, printable

if TYPE_CHECKING:
    from euclidesdb_server.backup.manifest import BackupManifest

_place = click.argument("place", metavar="PLACE", shell_complete=complete_files)
_id_option = click.option(
    "--backup", "backup_id", metavar="ID", help="Which one, as `euclidesdb backups` lists it."
)


@click.command()
@_place
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Afterwards delete all backups but the last N (default: none is deleted).",
)
@address_option
@json_option
def backup(*, place: str, keep: int | None, address: str, as_json: bool) -> int:
    """Back up a running server into PLACE: a folder, or a URL such as s3://bucket/folder.

    The database and the folders of its models are saved as they are at one moment; the server goes
    on meanwhile. PLACE may hold any number of backups; files that did not change are sent and
    stored once.
    """
    from euclidesdb_server.backup.make import make_backup  # noqa: PLC0415  as in all commands
    from euclidesdb_server.backup.repository import Repository  # noqa: PLC0415

    with (
        connected(address, timeout=None) as client,
        _problems(),
        Repository(place, create=True) as repository,
        _progress("backing up") as report,
    ):
        made = make_backup(client, repository, keep=keep, report=report)
    manifest = made.manifest
    for warning in manifest.warnings:
        print(f"euclidesdb: warning: {printable(warning)}", file=sys.stderr)
    if as_json:
        summary = _summary(manifest)
        print_json(
            {
                **summary,
                "new_files": made.new_files,
                "new_bytes": made.new_bytes,
                "pruned": made.pruned,
                "held_seconds": made.held_seconds,
            }
        )
        return 0
    print(
        f"backup {manifest.id}: {counted(len(manifest.files), 'file')}, {_size(manifest.size)}, of "
        f"which {counted(made.new_files, 'file')}, {_size(made.new_bytes)}, were new; writes "
        f"waited {made.held_seconds * 1000:.1f} ms"
    )
    if made.pruned:
        print(f"deleted {counted(made.pruned, 'earlier backup')}")
    return 0


@click.command()
@_place
@json_option
def backups(*, place: str, as_json: bool) -> int:
    """List the backups in PLACE, the oldest first."""
    from euclidesdb_server.backup.repository import Repository  # noqa: PLC0415  as above

    with _problems(), Repository(place) as repository:
        manifests = [repository.manifest(each) for each in repository.ids()]
    if as_json:
        for manifest in manifests:
            print_json(_summary(manifest))
        return 0
    rows = [
        (
            each.id,
            f"{len(each.files):,}",
            _size(each.size),
            printable(", ".join(model.name for model in each.models)),
        )
        for each in manifests
    ]
    print_table(("id", "files", "size", "models"), rows, right=("files", "size"))
    return 0


@click.command("verify-backup")
@_place
@_id_option
@json_option
def verify_backup(*, place: str, backup_id: str | None, as_json: bool) -> int:
    """Read all backups in PLACE, or one, and compare every file with its checksum."""
    from euclidesdb_server.backup.check import check_repository  # noqa: PLC0415  as above
    from euclidesdb_server.backup.repository import Repository  # noqa: PLC0415

    with _problems(), Repository(place) as repository:
        checked = check_repository(repository, backup_id)
    if as_json:
        print_json(asdict(checked))
        return 1 if checked.problems else 0
    for problem in checked.problems:
        print(printable(problem))
    if checked.unneeded:
        print(
            f"{counted(checked.unneeded, 'file')} of no backup: an interrupted one left them, and "
            "the next one deletes them"
        )
    print(
        f"{counted(checked.backups, 'backup')} with {counted(checked.contents, 'different file')}, "
        f"{_size(checked.size)}: "
        + (counted(len(checked.problems), "problem") if checked.problems else "all is well")
    )
    return 1 if checked.problems else 0


@click.command()
@_place
@click.option(
    "--database-path",
    type=path,
    required=True,
    shell_complete=complete_files,
    metavar="DIR",
    help="The data folder to make; it must not exist, or be empty.",
)
@click.option(
    "--models-path",
    type=path,
    shell_complete=complete_files,
    metavar="DIR",
    help="The models folder that receives the models (default: they are not restored).",
)
@_id_option
@json_option
def restore(
    *,
    place: str,
    database_path: Path,
    models_path: Path | None,
    backup_id: str | None,
    as_json: bool,
) -> int:
    """Restore a backup from PLACE, by default the latest, for a server to be started with."""
    from euclidesdb_server.backup.repository import Repository  # noqa: PLC0415  as above
    from euclidesdb_server.backup.restore import restore_backup  # noqa: PLC0415

    with _problems(), Repository(place) as repository, _progress("restoring") as report:
        manifest = repository.chosen(backup_id)
        restore_backup(repository, manifest, database_path, models_path, report=report)
    for warning in manifest.warnings:
        print(f"euclidesdb: warning: {printable(warning)}", file=sys.stderr)
    if as_json:
        print_json({**_summary(manifest), "search": manifest.search})
        return 0
    print(f"backup {manifest.id} is restored: {printable(str(database_path))}")
    if models_path is None:
        print("its models are not restored: give --models-path for them")
    else:
        folders = ", ".join(each.folder for each in manifest.models)
        print(f"its models are in {printable(f'{models_path}: {folders}')}")
    settings = "; ".join(f"{key} = {value}" for key, value in manifest.search.items())
    print(f"the server that was backed up searched with {printable(settings)}")
    return 0


@contextmanager
def _problems() -> Iterator[None]:
    """What goes wrong with a place or with a file becomes click's error."""
    from euclidesdb_server.backup.errors import BackupError  # noqa: PLC0415  as above

    try:
        yield
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many bytes are done, on a terminal."""
    import tqdm  # noqa: PLC0415  as above

    with tqdm.tqdm(
        desc=doing, unit="B", unit_scale=True, disable=None, file=sys.stderr, leave=False
    ) as bar:

        def report(done: int, size: int) -> None:
            bar.total = size
            bar.update(done - bar.n)

        yield report


def _summary(manifest: BackupManifest) -> dict[str, object]:
    return {
        "id": manifest.id,
        "created": manifest.created,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "models": {each.name: each.fingerprint for each in manifest.models},
        "warnings": list(manifest.warnings),
    }


def _size(size: int) -> str:
    """A number of bytes, as in "35.2 MB"."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
