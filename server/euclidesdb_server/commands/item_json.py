"""An item as `--json` prints it, and as a block of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from euclidesdb_server.commands.printing import json_text, printable, shown

if TYPE_CHECKING:
    import euclidesdb


def item_object(item: euclidesdb.Item, *, outputs: bool = True) -> dict[str, Any]:
    """The fields of an item, without what was not requested. Documented in docs/commands.md.

    outputs: also the vectors and predictions.
    """
    fields: dict[str, Any] = {
        "id": item.id,
        "attributes": item.attributes,
        "metadata": item.metadata,
        "models": list(item.models),
    }
    if not outputs:
        return fields
    arrays = {
        name: {
            each.model: values
            for each in item.embeddings
            if (values := getattr(each, one)) is not None
        }
        for name, one in (("vectors", "vector"), ("predictions", "predictions"))
    }
    if item.states is not None:
        fields["states"] = {
            each.model: {
                "state": each.state,
                **({} if each.failure is None else _failure(each.failure)),
            }
            for each in item.states
        }
    return {**fields, **{name: values for name, values in arrays.items() if values}}


def _failure(failure: euclidesdb.EmbeddingFailure) -> dict[str, str]:
    return {
        "reason": failure.reason,
        "message": failure.message,
        "time": failure.time.isoformat(),
    }


def print_item(item: euclidesdb.Item) -> None:
    """Print an item: its id, then what it has."""
    print(printable(item.id))
    lines = [("models", ", ".join(map(printable, item.models)))]
    if item.metadata:
        lines.append(("metadata", f"{len(item.metadata):,} bytes"))
    lines += [(printable(name), shown(value)) for name, value in item.attributes.items()]
    lines += [
        (name, json_text(value))
        for name, value in item_object(item).items()
        if name in ("vectors", "predictions")
    ]
    space = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"    {name:<{space}}  {value}".rstrip())
