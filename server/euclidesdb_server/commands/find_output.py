"""What `euclidesdb find` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import euclidesdb
from euclidesdb_server.commands.find_fields import FoundFields
from euclidesdb_server.commands.printing import (
    counted,
    print_json,
    print_table,
    printable,
    shown,
)


def print_results(
    results: Mapping[str, euclidesdb.Neighbors], fields: FoundFields, *, as_json: bool
) -> None:
    """Print a table for each model, or each neighbor as a JSON object on a line of its own.

    fields: those in the table; with JSON they are `show`.
    """
    for number, (model, neighbors) in enumerate(results.items()):
        if as_json:
            for rank, neighbor in enumerate(neighbors, 1):
                shown_object = {"show": fields.values(neighbor)} if fields.names else {}
                print_json({**_neighbor_object(neighbors, rank, neighbor), **shown_object})
            continue
        if number:
            print()
        print(f"{printable(model)}: {counted(len(neighbors))}, by {neighbors.metric} distance")
        if neighbors:
            _print_neighbors(neighbors, fields)


def label_of(neighbor: euclidesdb.Neighbor) -> euclidesdb.LabelProbability | None:
    """What the model predicts for a neighbor, if it predicts anything."""
    return neighbor.labels[0] if neighbor.labels else None


def _neighbor_object(
    neighbors: euclidesdb.Neighbors, rank: int, neighbor: euclidesdb.Neighbor
) -> dict[str, Any]:
    label = label_of(neighbor)
    fields: dict[str, Any] = {
        "model": neighbors.model,
        "rank": rank,
        "id": neighbor.id,
        "distance": neighbor.distance,
        "metric": neighbors.metric,
        "label": label and label.label,
        "confidence": label and label.probability,
        "attributes": neighbor.attributes,
    }
    if neighbors.groups is not None:
        fields["group"] = neighbor.group
    return fields


def _print_neighbors(neighbors: euclidesdb.Neighbors, fields: FoundFields) -> None:
    columns = fields.columns(neighbors)
    heads, rows = ["", "distance", "id"], list[list[str]]()
    labeled = any(map(label_of, neighbors))
    heads += ["label"] * labeled + ["group"] * (neighbors.groups is not None)
    for rank, neighbor in enumerate(neighbors, 1):
        row = [str(rank), f"{neighbor.distance:.4f}", printable(neighbor.id)]
        if labeled:
            label = label_of(neighbor)
            row.append(f"{printable(label.label)} ({label.probability:.0%})" if label else "")
        if neighbors.groups is not None:
            row.append(shown(neighbor.group))
        values = fields.values(neighbor) if fields.names else neighbor.attributes or {}
        row += [shown(values.get(name)) for name in columns]
        rows.append(row)
    print_table([*heads, *map(printable, columns)], rows, right=("", "distance"), fitted=True)
