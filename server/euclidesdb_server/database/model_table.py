"""Catalog: the models served, each with the space of its vectors."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from euclidesdb_server.database.requests import ModelVector, ModelVectors
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.errors import (
    DatabaseError,
    DimensionMismatch,
    InvalidRequest,
    ModelUnavailable,
    VersionMismatch,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.inference import Model, ModelRegistry
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.status import ModelState

NO_MODEL: Final = "no model of this name is served; its items can be searched by vector and by id"
SUPERSEDED: Final = "a former version of the model; its items can be searched by vector and by id"


def superseded_name(space: ModelSpace) -> str:
    """What the space of a former version is called."""
    return f"{space.record.model}@{space.record.fingerprint}"


class Catalog:
    """Looks up models and spaces. Thread-safe.

    spaces: by model name; a model that was never ready may have none, and there may be some of
    names that no model has: those can be searched by vector and by id. superseded: those of former
    versions, likewise, as `model@fingerprint`.
    """

    def __init__(
        self,
        models: ModelRegistry,
        spaces: Mapping[str, ModelSpace],
        superseded: Iterable[ModelSpace] = (),
    ) -> None:
        self._models = models
        self._changing = threading.Lock()
        # replaced as wholes, so that readers need no lock
        self._spaces = dict(spaces)
        self._superseded = {superseded_name(space): space for space in superseded}
        self._by_number: dict[int, ModelSpace] = {}
        self._by_version: dict[tuple[str, str], ModelSpace] = {}
        self._index()

    def spaces(self) -> list[ModelSpace]:
        """Every space, those of former versions too."""
        return [*self._by_number.values()]

    def space(self, model: str) -> ModelSpace:
        """The space that is searched under a name, that of a former version too.

        Raises UnknownModel, ModelUnavailable where there is none.
        """
        space = self._spaces.get(model, self._superseded.get(model))
        if space is None:
            reason = self._models.get(model).state[1]
            raise ModelUnavailable(f"model {model!r} is quarantined: {reason}")
        return space

    def current_space(self, model: str) -> ModelSpace:
        """The space that is added to under a name. Raises InvalidRequest, and as `space` does."""
        if model in self._superseded and model not in self._spaces:
            raise InvalidRequest(f"{model!r} is a former version: nothing is added to it")
        return self.space(model)

    def numbered(self, number: int) -> ModelSpace | None:
        """The space of that number; None where there is none (yet)."""
        return self._by_number.get(number)

    def version(self, model: str, fingerprint: str) -> ModelSpace | None:
        """The space of a model version; None where there is none (yet)."""
        return self._by_version.get((model, fingerprint))

    def make_current(self, name: str, space: ModelSpace) -> None:
        """Have a name mean this space from now on; the one before becomes a former version."""
        with self._changing:
            before = self._spaces.get(name)
            superseded = {
                key: value for key, value in self._superseded.items() if value is not space
            }
            if before is not None and before is not space:
                superseded[superseded_name(before)] = before
            self._spaces, self._superseded = {**self._spaces, name: space}, superseded
            self._index()

    def _index(self) -> None:
        every = [*self._spaces.values(), *self._superseded.values()]
        self._by_number = {space.record.number: space for space in every}
        self._by_version = {
            (space.record.model, space.record.fingerprint): space for space in every
        }

    def checked(self, space: ModelSpace, vector: ModelVector) -> Vector:
        """A caller's vector, fit for the space.

        Raises VersionMismatch, DimensionMismatch, InvalidRequest.
        """
        if vector.values.ndim != 1:
            raise _wrong_shape(space, vector.values.shape)
        unusable = self.unusable(space, ModelVectors(vector.values[np.newaxis], vector.fingerprint))
        if unusable:
            raise unusable[0]
        return vector.values

    def unusable(self, space: ModelSpace, vectors: ModelVectors) -> dict[int, DatabaseError]:
        """By position, why a vector cannot be in the space.

        Raises VersionMismatch, DimensionMismatch where none can.
        """
        record, values = space.record, vectors.values
        model = record.model
        if vectors.fingerprint not in (None, "", record.fingerprint):
            superseded = f"{model}@{vectors.fingerprint}"
            hint = (
                f"; its items can be searched as {superseded!r}"
                if superseded in self._superseded
                else ""
            )
            raise VersionMismatch(
                f"the vector is of version {vectors.fingerprint!r} of model {model!r}, "
                f"which is now {record.fingerprint!r}{hint}"
            )
        if values.ndim != 2 or values.shape[1] != record.feature_dim:
            raise _wrong_shape(space, values.shape[1:])
        finite = np.isfinite(values)
        if finite.all():
            return {}
        unusable: dict[int, DatabaseError] = {}
        for row in np.flatnonzero(~finite.all(axis=1)).tolist():
            column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
            unusable[row] = InvalidRequest(
                f"a vector of model {model!r} has {values[row, column]} at position {column}"
            )
        return unusable

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model served, every folder that is not with the reason, and what is kept of models
        and versions that are no more, by name.
        """
        broken = [
            ModelStatus(name=name, state=ModelState.QUARANTINED, reason=reason)
            for name, reason in self._models.broken.items()
        ]
        served = [self._status(name, model) for name, model in self._models.served.items()]
        names = {status.name for status in served}
        kept = [
            _with_space(ModelStatus(name=name, state=ModelState.UNLOADED, reason=NO_MODEL), space)
            for name, space in self._spaces.items()
            if name not in names
        ]
        superseded = [
            _with_space(
                ModelStatus(name=name, state=ModelState.SUPERSEDED, reason=SUPERSEDED), space
            )
            for name, space in self._superseded.items()
            if len(space)
        ]
        return tuple(sorted(broken + served + kept + superseded, key=lambda status: status.name))

    def status(self, name: str) -> ModelStatus:
        """How a model that is served stands. Raises UnknownModel."""
        return self._status(name, self._models.get(name))

    def _status(self, name: str, model: Model) -> ModelStatus:
        state, reason = model.state
        conf = model.folder.conf
        items_run, batches_run = model.run_counts
        status = ModelStatus(
            name=name,
            state=state,
            reason=reason,
            input=conf.input,
            feature_dim=conf.feature_dim,
            prediction_dim=conf.prediction_dim,
            fingerprint=model.folder.fingerprint,
            labels=conf.label_names(),
            items_run=items_run,
            batches_run=batches_run,
        )
        space = self._spaces.get(name)
        return status if space is None else _with_space(status, space)


def _wrong_shape(space: ModelSpace, shape: tuple[int, ...]) -> DimensionMismatch:
    model, dim = space.record.model, space.record.feature_dim
    return DimensionMismatch(f"a vector of model {model!r} has shape ({dim},), not {shape}")


def _with_space(status: ModelStatus, space: ModelSpace) -> ModelStatus:
    return dataclasses.replace(
        status,
        feature_dim=space.record.feature_dim,
        fingerprint=space.record.fingerprint,
        engine=space.engine.name,
        metric=str(space.metric),
        items=len(space),
        adopted=space.record.adopted,
        index=space.status(),
    )
