"""The picture of `euclidesdb find`: what goes into which tile of the contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

import euclidesdb
from euclidesdb_server.commands.contact_sheet import (
    LIKE,
    PLAIN,
    UNLIKE,
    Section,
    Tile,
    contact_sheet,
)
from euclidesdb_server.commands.find_fields import FoundFields
from euclidesdb_server.commands.find_output import label_of
from euclidesdb_server.commands.find_query import Query
from euclidesdb_server.commands.printing import printable, shown

MAX_NEIGHBORS: Final = 240
"""Drawn for each model."""


def draw_results(
    query: Query,
    client: euclidesdb.Client,
    results: Mapping[str, euclidesdb.Neighbors],
    fields: FoundFields,
) -> Image.Image:
    """The query first, then its neighbors, for each model.

    fields: those to write below the neighbors.
    """
    single = len(query.positive) == 1 and not query.negative
    kind = "query" if single else "like"
    examples = [_example(client, kind, LIKE, *each) for each in query.positive]
    examples += [_example(client, "unlike", UNLIKE, *each) for each in query.negative]
    sections = [
        Section(
            _heading(neighbors),
            [*examples, *(_neighbor(each, fields) for each in neighbors[:MAX_NEIGHBORS])],
        )
        for neighbors in results.values()
    ]
    return contact_sheet(f"Similar to {printable(query.title)}", sections)


def _heading(neighbors: euclidesdb.Neighbors) -> str:
    count = len(neighbors)
    found = f"{count:,} found" + f", {MAX_NEIGHBORS} drawn" * (count > MAX_NEIGHBORS)
    return f"{printable(neighbors.model)} · {neighbors.metric} distance · {found}"


def _neighbor(neighbor: euclidesdb.Neighbor, fields: FoundFields) -> Tile:
    notes = [f"{neighbor.distance:.3f}"]
    label = label_of(neighbor)
    if label is not None:
        notes.append(f"{printable(label.label)} ({label.probability:.0%})")
    more = [text for value in fields.values(neighbor).values() if (text := shown(value))]
    return Tile(
        _content(neighbor.payload),
        printable(neighbor.id),
        " · ".join(notes),
        PLAIN,
        " · ".join(more),
    )


def _example(client: euclidesdb.Client, note: str, color: str, name: str, value: Any) -> Tile:
    if name == "id":
        item = client.get(value, include_payload=True)
        raw = item.image if item.image is not None else item.text
        return Tile(raw, printable(value), note, color)
    if name == "image":
        return Tile(Path(value).read_bytes(), printable(Path(value).name), note, color)
    if name == "text":
        return Tile(value, "", note, color)
    return Tile(f"a vector of {len(value):,} dimensions", "", note, color)


def _content(payload: Any) -> bytes | str | None:
    return payload if isinstance(payload, bytes | str) else None
