"""`Models`: what the server has, as a table."""

from __future__ import annotations

from euclidesdb._printing import cell, listed
from euclidesdb._tables import Column, TabularTuple
from euclidesdb._types import ModelInfo

HEADS = ("name", "state", "input", "dim", "items", "metric", "engine")


class Models(TabularTuple[ModelInfo]):
    """The models of a server, by name."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [[*HEADS], *([*map(cell, _row(model))] for model in self)] if self else []
        return listed(_head(self), rows, len(rows))

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import table_html  # noqa: PLC0415  in notebooks alone

        rows = [[*_row(model), model.reason] for model in self]
        return table_html(_head(self), [*HEADS, "reason"], rows)

    def _table(self) -> list[Column]:
        texts = ("name", "state", "reason", "input")
        numbers = ("feature_dim", "prediction_dim", "items", "items_run", "disk_bytes")
        recalls = [None if model.index is None else model.index.recall for model in self]
        return [
            *(Column(name, "text", [getattr(each, name) for each in self]) for name in texts),
            *(Column(name, "int", [getattr(each, name) for each in self]) for name in numbers),
            *(
                Column(name, "text", [getattr(each, name) for each in self])
                for name in ("fingerprint", "engine", "metric")
            ),
            Column("labels", "texts", [list(each.labels) for each in self]),
            Column("recall", "float", recalls),
        ]


def _head(models: Models) -> str:
    return "1 model" if len(models) == 1 else f"{len(models):,} models"


def _row(model: ModelInfo) -> list[str]:
    return [
        model.name,
        model.state,
        model.input,
        str(model.feature_dim),
        f"{model.items:,}",
        model.metric,
        model.engine,
    ]
