"""ModelFields: the predictions and states that the names of models refer to."""

from __future__ import annotations

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.errors import ModelUnavailable, UnknownModel
from euclidesdb_server.values.filters import (
    AnyOf,
    Comparison,
    Filter,
    Operator,
    Prediction,
    PredictionValue,
)
from euclidesdb_server.values.status import EmbeddingState


class ModelFields:
    """Finds models in a model table; opens no space. Thread-safe."""

    def __init__(self, models: ModelTable) -> None:
        self._models = models

    def prediction(self, model: str, value: PredictionValue) -> Prediction | None:
        """What a model predicts, by the version in service; None if there is no such model.

        model: a name, or `model@fingerprint` for a superseded version. The names of the classes
        are known only while the model is served.

        Raises ModelUnavailable if the model has no space (it has never been ready), or its folder
        cannot be served: the field would otherwise be taken for an attribute.
        """
        try:
            serving = self._models.resolve(model)
        except UnknownModel:
            return None
        record = serving.record
        if record is None:
            state, reason = serving.state
            raise ModelUnavailable(f"model {model!r} is {state}: {reason}")
        if value is PredictionValue.STATE:
            return Prediction(record.number, value, others=self._others(serving))
        labels = () if serving.model is None else serving.model.folder.conf.label_names()
        return Prediction(record.number, value, labels)

    def names(self) -> list[str]:
        """The predictions of the models served, as filters name them."""
        return [
            f"{model}.{value.value}" for model in self._models.models() for value in PredictionValue
        ]

    def state(self, model: str, state: EmbeddingState) -> Filter:
        """The items in a state in a model, or in any model served now if that is "".

        Raises UnknownModel, ModelUnavailable as `prediction`.
        """
        if model:
            field = self.prediction(model, PredictionValue.STATE)
            if field is None:
                raise self.refusal(model)
            return Comparison(field, Operator.EQUAL, state.value)
        fields = (
            Prediction(record.number, PredictionValue.STATE, others=self._others(serving))
            for serving in self._models.served()
            if (record := serving.record) is not None
        )
        return AnyOf(tuple(Comparison(field, Operator.EQUAL, state.value) for field in fields))

    def _others(self, serving: Serving) -> tuple[int, ...]:
        """The spaces of the other versions of a model; none for a version."""
        if serving.superseded:
            return ()
        return self._models.earlier_numbers(serving.name)

    def refusal(self, model: str) -> UnknownModel | ModelUnavailable:
        """The error for a model that does not exist; it lists those that do."""
        return self._models.refusal(model)
