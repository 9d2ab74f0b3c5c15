"""`euclidesdb add`: images, texts and the rows of tables as items of a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import (
    address_option,
    assignment,
    complete_models,
    json_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import euclidesdb


@click.command(short_help="Add images, texts, or the rows of a table.")
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_models,
    help="A model to embed the items with; may be repeated (default: the only one that takes this "
    "kind of item).",
)
@click.option(
    "--all-models", is_flag=True, help="Embed the items with all ready models that take them."
)
@click.option(
    "--text",
    "text",
    type=click.Choice(("lines", "files")),
    help="Add text files: each line is an item, or each file.",
)
@click.option("--id-prefix", default="", metavar="TEXT", help="Put this before every id.")
@click.option("--id-column", metavar="NAME", help='Of a table: the ids (default: "id").')
@click.option(
    "--image-column",
    metavar="NAME",
    help='Of a table: paths of images, relative to the table (default: "image").',
)
@click.option("--text-column", metavar="NAME", help='Of a table: texts (default: "text").')
@click.option(
    "--keep-text",
    multiple=True,
    metavar="NAME",
    help="Of a CSV table: a column whose numbers stay texts; may be repeated.",
)
@click.option(
    "--folder-attribute",
    metavar="NAME",
    help="Store the name of each file's folder as this attribute.",
)
@click.option(
    "--set",
    "assignments",
    type=assignment,
    multiple=True,
    metavar="KEY=VALUE",
    help="An attribute of every item; may be repeated.",
)
@click.option("--skip-existing", is_flag=True, help="Leave out items whose id is stored already.")
@address_option
@json_option
def add(
    *,
    paths: Sequence[str],
    models: Sequence[str],
    all_models: bool,
    text: str | None,
    id_prefix: str,
    id_column: str | None,
    image_column: str | None,
    text_column: str | None,
    keep_text: Sequence[str],
    folder_attribute: str | None,
    assignments: Sequence[tuple[str, Any]],
    skip_existing: bool,
    address: str,
    as_json: bool,
) -> int:
    """Add the items in PATHS: files, folders, or patterns such as 'photos/**/*.jpg'.

    A folder stands for all images in it and below, or all text files with --text. The id of an
    item is its path relative to the folder, or the path as given. A table is a .csv, .tsv, .jsonl
    or .parquet file: each row is an item, with the other columns as its attributes.
    """
    # Imported when the command runs: reading tables and adding need the client.
    from euclidesdb_server.commands.add_sources import SourceOptions, sources  # noqa: PLC0415
    from euclidesdb_server.commands.add_tables import Columns  # noqa: PLC0415
    from euclidesdb_server.commands.adding import Adding  # noqa: PLC0415

    if models and all_models:
        raise click.UsageError("give --model or --all-models", click.get_current_context())
    options = SourceOptions(
        text=text,
        columns=Columns(id_column, image_column, text_column, frozenset(keep_text)),
        folder_attribute=folder_attribute,
    )
    found = sources(paths, options)
    with connected(address) as client:
        chosen = chosen_models(
            client.models(),
            models,
            {kind for each in found for kind in each.kinds},
            all_models=all_models,
        )
        adding = Adding(
            client,
            chosen,
            id_prefix=id_prefix,
            attributes=dict(assignments),
            skip_existing=skip_existing,
        )
        return adding.run(found, as_json=as_json)


def chosen_models(
    known: Iterable[euclidesdb.ModelInfo],
    named: Sequence[str],
    kinds: set[str],
    *,
    all_models: bool,
) -> Mapping[str, list[str]]:
    """For each kind of item, the models that embed it.

    Raises ClickException if there is none, or if there are several and none is named.
    """
    served = [model for model in known if model.state not in ("superseded", "unloaded")]
    if named:
        _check_names(served, named, kinds)
    chosen: dict[str, list[str]] = {}
    for kind in sorted(kinds):
        fitting = [model for model in served if model.input == kind]
        if named:
            fitting = [model for model in fitting if model.name in named]
        elif len(fitting) > 1 and not all_models:
            names = ", ".join(model.name for model in fitting)
            raise click.ClickException(
                f"several models take {kind}: name one or more of {names} by --model, or give "
                "--all-models"
            )
        ready = [model.name for model in fitting if named or model.state == "ready"]
        if not ready:
            raise click.ClickException(
                f"no model that takes {kind} is {'named' if named else 'ready'}: see "
                "`euclidesdb models`"
            )
        chosen[kind] = ready
    return chosen


def _check_names(
    served: Iterable[euclidesdb.ModelInfo], named: Sequence[str], kinds: set[str]
) -> None:
    inputs = {model.name: model.input for model in served}
    for name in named:
        if name not in inputs:
            raise click.ClickException(
                f"there is no model {name!r}: the server has {', '.join(inputs) or 'none'}"
            )
        if inputs[name] not in kinds:
            takes = f"takes {inputs[name]}" if inputs[name] else "is not loaded"
            raise click.ClickException(
                f"model {name!r} {takes}, and the items are {' and '.join(sorted(kinds))}"
            )
