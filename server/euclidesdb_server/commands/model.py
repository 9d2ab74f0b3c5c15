"""`euclidesdb model ...`: the options of its commands; the rest is imported late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from euclidesdb_server.commands.parameters import (
    address_option,
    complete_files,
    json_option,
    path,
)


@click.group()
def model() -> None:
    """Check, compare, export, load, drop models."""


@model.command()
@click.argument("folder", type=path, shell_complete=complete_files)
@click.option("--device", help="cpu, cuda:0, ... (default: that in model.conf).")
@click.option("--threads", type=int, default=0, help="Default: those in model.conf, or all cores.")
@json_option
def check(*, folder: Path, device: str | None, threads: int, as_json: bool) -> int:
    """Load a model folder as the server does, and measure its speed."""
    from euclidesdb_server.commands.model_check import run  # noqa: PLC0415  needs the server

    return run(folder=folder, device=device, threads=threads, as_json=as_json)


@model.command()
@click.argument("first", type=path, shell_complete=complete_files, metavar="A")
@click.argument("second", type=path, shell_complete=complete_files, metavar="B")
@click.option(
    "--items",
    type=path,
    shell_complete=complete_files,
    required=True,
    metavar="DIR",
    help="Images, .npy arrays, or text files with one item per line.",
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-3,
    show_default=True,
    help="Relative to a vector's largest value.",
)
@json_option
def compare(*, first: Path, second: Path, items: Path, tolerance: float, as_json: bool) -> int:
    """Compare the vectors of two model folders."""
    from euclidesdb_server.commands.model_compare import run  # noqa: PLC0415  needs the server

    return run(first=first, second=second, items=items, tolerance=tolerance, as_json=as_json)


@model.command()
@click.argument("source")
@click.argument("folder", type=path, shell_complete=complete_files)
@click.option("--name", help="The model's name (default: the folder's).")
@click.option(
    "--format",
    "program_format",
    type=click.Choice(("pt2", "torchscript")),
    default="pt2",
    show_default=True,
    help="Of the program.",
)
@click.option(
    "--tower",
    type=click.Choice(("image", "text")),
    help="The tower to export, for a model with both.",
)
@click.option("--pooling", type=click.Choice(("mean", "cls")), help="For a text encoder.")
@click.option("--random", is_flag=True, help="Use random weights, for measurements.")
@click.option("--seed", type=int, default=0, help="For the random weights.")
def export(
    *,
    source: str,
    folder: Path,
    name: str | None,
    program_format: str,
    tower: Literal["image", "text"] | None,
    pooling: Literal["mean", "cls"] | None,
    random: bool,
    seed: int,
) -> int:
    """Make a model folder from a published model.

    SOURCE is a transformers checkpoint (folder or hub name), torchvision:NAME or timm:NAME; FOLDER
    is the model folder to make.
    """
    from euclidesdb_server.commands.model_export import run  # noqa: PLC0415  needs transformers

    return run(
        source=source,
        folder=folder,
        name=name,
        program_format=program_format,
        tower=tower,
        pooling=pooling,
        seed=seed if random else None,
    )


def _change(action: str, takes: str, does: str) -> None:
    """Declare a command that changes the models of a running server."""

    def change(name: str, address: str, as_json: bool) -> int:
        from euclidesdb_server.commands.model_serving import run  # noqa: PLC0415  when it runs

        return run(action, name, address, as_json=as_json)

    argument: Callable[[Callable[..., int]], Callable[..., int]] = click.argument(
        "name", metavar=takes
    )
    options = address_option(json_option(argument(change)))
    model.command(action, help=f"On a running server, {does}.")(options)


for _each in (
    ("load", "FOLDER", "serve a folder of the models folder, as a new model or a new version"),
    ("reload", "NAME", "load a model's folder again"),
    ("unload", "NAME", "stop serving a model; its items stay"),
    ("drop", "NAME@FINGERPRINT", "delete a superseded version; its items stay"),
):
    _change(*_each)
