"""The fields of items that a table shows: attributes, and what models predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from euclidesdb_server.commands.printing import attribute
from euclidesdb_server.values.predicted import predicted

if TYPE_CHECKING:
    import euclidesdb

PREDICTIONS: Final = ("label", "confidence", "margin", "entropy", "top_labels")


def field_names(values: Sequence[str]) -> tuple[str, ...]:
    """The fields of an option that may be repeated, and has several with commas between them."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise click.UsageError(
            f"--show has an empty name: {','.join(values)!r}", click.get_current_context()
        )
    return tuple(dict.fromkeys(names))


class ShownFields:
    """names: of attributes, or of predictions if the server has such a model."""

    def __init__(self, names: Sequence[str], models: Iterable[euclidesdb.ModelInfo]) -> None:
        known = {model.name: model for model in models}
        self.names = names
        self._predictions = {
            name: (known[model], value)
            for name in names
            for model, _, value in [name.rpartition(".")]
            if model in known and value in PREDICTIONS
        }

    @classmethod
    def of_attributes(cls, items: Iterable[euclidesdb.Item]) -> ShownFields:
        """All attributes of some items."""
        return cls([*dict.fromkeys(name for item in items for name in item.attributes)], ())

    @property
    def of_predictions(self) -> bool:
        """Whether the items' predictions are needed."""
        return bool(self._predictions)

    def values(self, item: euclidesdb.Item) -> dict[str, Any]:
        """The values by name; None for what the item does not have."""
        return self.of(item.attributes, item.embeddings)

    def of(
        self, attributes: Mapping[str, Any], embeddings: Sequence[euclidesdb.Embedding]
    ) -> dict[str, Any]:
        """As `values`, of an item with these."""
        return {
            name: self._predicted(embeddings, *self._predictions[name])
            if name in self._predictions
            else attribute(attributes, name)
            for name in self.names
        }

    def _predicted(
        self, embeddings: Iterable[euclidesdb.Embedding], model: euclidesdb.ModelInfo, value: str
    ) -> Any:
        base, _, _ = model.name.partition("@")
        for embedding in embeddings:
            found = embedding.predictions
            if (embedding.model, embedding.fingerprint) != (base, model.fingerprint):
                continue
            if found is None or not len(found):
                return None
            prediction = predicted(found[np.newaxis])
            if value not in ("label", "top_labels"):
                return round(float(getattr(prediction, value)[0]), 6)
            classes = prediction.top[0].tolist()
            labels = [
                model.labels[each] if each < len(model.labels) else str(each) for each in classes
            ]
            return labels[0] if value == "label" else labels
        return None
