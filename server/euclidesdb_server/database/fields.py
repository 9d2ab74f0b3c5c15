"""ModelFields: the predictions that the names of models in fields refer to."""

from __future__ import annotations

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.errors import ModelUnavailable, UnknownModel
from euclidesdb_server.values.filters import Prediction, PredictionValue


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
        labels = () if serving.model is None else serving.model.folder.conf.label_names()
        return Prediction(record.number, value, labels)

    def names(self) -> list[str]:
        """The predictions of the models served, as filters name them."""
        return [
            f"{model}.{value.value}" for model in self._models.models() for value in PredictionValue
        ]

    def refusal(self, model: str) -> UnknownModel | ModelUnavailable:
        """The error for a model that does not exist; it lists those that do."""
        return self._models.refusal(model)
