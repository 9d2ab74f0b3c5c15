"""`euclidesdb find`: find similar items."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from euclidesdb_server.commands.connection import connected
from euclidesdb_server.commands.parameters import (
    address_option,
    complete_files,
    complete_models,
    json_option,
    path,
    where_option,
)

if TYPE_CHECKING:
    from euclidesdb_server.commands.find_fields import FoundFields
    from euclidesdb_server.commands.find_query import Query

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--image", type=_file, metavar="FILE", help="Find items like this image.")
@click.option("--text", metavar="TEXT", help="Find items like this text.")
@click.option("--id", "item_id", metavar="ID", help="Find items like this stored item.")
@click.option(
    "--vector",
    type=_file,
    metavar="FILE",
    help="Find items near the vector in this .npy file, in the space of one --model.",
)
@click.option("--like", multiple=True, metavar="ID", help="A stored item to be like; repeatable.")
@click.option(
    "--unlike", multiple=True, metavar="ID", help="A stored item not to be like; repeatable."
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_models,
    help="Search in the space of this model; repeatable (default: all that fit the query).",
)
@click.option(
    "-k",
    "--top-k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Find so many items.",
)
@where_option
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1),
    metavar="WEIGHT",
    help="How much the results should differ, from 0 to 1, at the cost of nearness.",
)
@click.option(
    "--group-by", metavar="FIELD", help="At most one result for each value of this field."
)
@click.option("--max-distance", type=float, metavar="D", help="Only items at most this far away.")
@click.option("--exact", is_flag=True, help="Compare with every item.")
@click.option(
    "--show",
    "--attribute",
    "show",
    multiple=True,
    metavar="FIELD,...",
    help="Show these in the table and in the picture: attributes, or digits.label, "
    "digits.confidence, ... (default: all attributes in the table, none in the picture).",
)
@click.option(
    "--picture",
    type=path,
    shell_complete=complete_files,
    metavar="FILE",
    help="Draw the query and what was found, and write it to this .png or .jpg file.",
)
@address_option
@json_option
def find(
    *,
    image: Path | None,
    text: str | None,
    item_id: str | None,
    vector: Path | None,
    like: Sequence[str],
    unlike: Sequence[str],
    models: Sequence[str],
    top_k: int,
    show: Sequence[str],
    picture: Path | None,
    address: str,
    as_json: bool,
    **conditions: Any,
) -> int:
    """Find the items most similar to an image, a text, a stored item, a vector, or examples.

    With --like and --unlike, several stored items are examples; an --image, a --text, a --vector or
    an --id is one more to be like.
    """
    # Imported when the command runs: they need the client.
    from euclidesdb_server.commands.find_fields import FoundFields  # noqa: PLC0415
    from euclidesdb_server.commands.find_output import print_results  # noqa: PLC0415
    from euclidesdb_server.commands.find_query import (  # noqa: PLC0415
        check_model_of_vector,
        query_of,
    )
    from euclidesdb_server.commands.shown_fields import field_names  # noqa: PLC0415

    names = field_names(show)

    given = {"image": image, "text": text, "id": item_id, "vector": vector}
    given = {name: each for name, each in given.items() if each is not None}
    query = query_of(given, like, unlike)
    check_model_of_vector(given, models)
    conditions["filter"] = conditions.pop("where")
    with connected(address) as client:
        results = client.find_similar(
            **query.arguments,
            models=models or None,
            top_k=top_k,
            top_labels=1,
            include_attributes=True,
            include_payload=picture is not None,
            **conditions,
        )
        fields = FoundFields(client, names, results)
        if picture is not None:
            _draw(picture, query, client, results, fields)
    print_results(results, fields, as_json=as_json)
    if picture is not None:
        print(f"drawn: {picture}", file=sys.stderr)
    return 0


def _draw(file: Path, query: Query, client: Any, results: Any, fields: FoundFields) -> None:
    """Write the picture. Raises ClickException if that fails."""
    from euclidesdb_server.commands.find_picture import draw_results  # noqa: PLC0415  needs Pillow

    try:
        draw_results(query, client, results, fields).save(file)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error}") from error
    except ValueError as error:  # Pillow's, for an ending that it does not know
        raise click.ClickException(f"cannot write {file}: its name must end with .png") from error
