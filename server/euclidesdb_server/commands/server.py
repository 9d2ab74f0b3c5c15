"""`euclidesdb serve`, `verify`, `demo` and `demo-text`: the options; the rest is imported late."""

from __future__ import annotations

from pathlib import Path

import click

from euclidesdb_server.commands.parameters import (
    DEFAULT_ADDRESS,
    complete_files,
    json_option,
    path,
)

_config = click.option(
    "-c", "--config", type=path, shell_complete=complete_files, help="A configuration file."
)
_data = click.option(
    "--data",
    type=path,
    shell_complete=complete_files,
    help="The data folder (default: in your home folder).",
)


@click.command()
@_config
@click.option("--address", help=f"host, host:port or unix:path (default {DEFAULT_ADDRESS}).")
@_data
@click.option(
    "--models",
    type=path,
    shell_complete=complete_files,
    help="The models folder (default: the shipped models).",
)
@click.option(
    "--allow-anonymous",
    is_flag=True,
    help="Answer calls without an API key, also from other machines.",
)
@click.option("--strict", is_flag=True, help="Exit if a model cannot be served.")
def serve(
    *,
    config: Path | None,
    address: str | None,
    data: Path | None,
    models: Path | None,
    strict: bool,
    allow_anonymous: bool,
) -> int:
    """Run the server until SIGTERM or Ctrl-C."""
    from euclidesdb_server.commands.serve import run  # noqa: PLC0415  needs the server

    return run(
        config=config,
        address=address,
        data=data,
        models=models,
        strict=strict,
        allow_anonymous=allow_anonymous,
    )


@click.command()
@_config
@_data
@click.option(
    "--repair",
    is_flag=True,
    help="Set aside what cannot be read and repair the rest; the old store is kept.",
)
@json_option
def verify(*, config: Path | None, data: Path | None, repair: bool, as_json: bool) -> int:
    """Check all data in a folder that no server is using."""
    from euclidesdb_server.commands.verify import run  # noqa: PLC0415  needs the server

    return run(config=config, data=data, repair=repair, as_json=as_json)


@click.command()
@click.option(
    "--output",
    type=path,
    shell_complete=complete_files,
    default=Path("demo.png"),
    show_default=True,
    help="The PNG file to write.",
)
@click.option("--items", type=int, default=1500, show_default=True, help="100 to 1500.")
@click.option(
    "--keep-data",
    type=path,
    shell_complete=complete_files,
    metavar="FOLDER",
    help="Keep the database in this folder.",
)
def demo(*, output: Path, items: int, keep_data: Path | None) -> int:
    """Add, search and remove real handwritten digits, with a new server."""
    from euclidesdb_server.demo import tour  # noqa: PLC0415  needs the server and more

    return tour.run(output=output, items=items, keep_data=keep_data)


@click.command("demo-text")
def demo_text() -> int:
    """Search real sentences by meaning, with a published text model."""
    from euclidesdb_server.demo import text_tour  # noqa: PLC0415  needs the server and more

    return text_tour.run()
