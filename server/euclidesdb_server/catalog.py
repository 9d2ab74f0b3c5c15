"""Catalog: the models served, each with the space of its vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Final

import numpy as np

from euclidesdb_server.checks import distinct
from euclidesdb_server.errors import (
    DeadlineExceeded,
    DimensionMismatch,
    InvalidRequest,
    ModelUnavailable,
    StaleSpace,
)
from euclidesdb_server.models import ModelRegistry
from euclidesdb_server.spaces import ModelSpace
from euclidesdb_server.types import (
    Call,
    Embedding,
    ModelState,
    ModelStatus,
    ModelVector,
    Payload,
    Vector,
)

NO_MODEL: Final = (
    "no model of this name is configured; vectors taken over from EuclidesDB can be searched "
    "by vector and by id"
)


class Catalog:
    """Looks up models and spaces; runs models. Thread-safe.

    spaces: by model name; a model that was never ready may have none, and there may be some of
    names that no model has: those can be searched by vector and by id.
    """

    def __init__(self, models: ModelRegistry, spaces: Mapping[str, ModelSpace]) -> None:
        self._models = models
        self._spaces = spaces
        self._by_number = {space.record.number: space for space in spaces.values()}

    def spaces(self) -> list[ModelSpace]:
        """The space of every model that has one."""
        return [*self._spaces.values()]

    def space(self, model: str) -> ModelSpace:
        """The space of a model. Raises UnknownModel, ModelUnavailable where it has none."""
        space = self._spaces.get(model)
        if space is None:
            reason = self._models.get(model).state[1]
            raise ModelUnavailable(f"model {model!r} is quarantined: {reason}")
        return space

    def numbered(self, number: int) -> ModelSpace | None:
        """The space of that number; None where no model served has it (any more)."""
        return self._by_number.get(number)

    def embed(self, payload: Payload, models: Sequence[str], call: Call) -> dict[str, Embedding]:
        """What each model says of the payload; the models work side by side.

        Raises UnknownModel, ModelUnavailable, UndecodableInput, ModelFailed, Overloaded, and
        DeadlineExceeded once the caller has no patience left.
        """
        served = {name: self._models.get(name) for name in distinct(models)}
        futures: dict[str, Future[Embedding]] = {}
        try:
            for name, model in served.items():
                futures[name] = future = model.embed(payload)
                call.on_done(future.cancel)
            return {
                name: future.result(timeout=call.time_remaining())
                for name, future in futures.items()
            }
        except (TimeoutError, CancelledError) as error:
            raise DeadlineExceeded(f"no answer of {', '.join(futures)} in time") from error
        finally:
            for future in futures.values():
                future.cancel()  # spares the work where another model failed

    def checked(self, model: str, vector: ModelVector) -> Vector:
        """A caller's vector, fit for the space of the model.

        Raises StaleSpace, DimensionMismatch, InvalidRequest, and as `space` does.
        """
        record = self.space(model).record
        if vector.fingerprint not in (None, "", record.fingerprint):
            raise StaleSpace(
                f"the vector is of version {vector.fingerprint!r} of model {model!r}, "
                f"which is now {record.fingerprint!r}"
            )
        if vector.values.shape != (record.feature_dim,):
            raise DimensionMismatch(
                f"a vector of model {model!r} has shape ({record.feature_dim},), "
                f"not {vector.values.shape}"
            )
        unusable = np.flatnonzero(~np.isfinite(vector.values))
        if len(unusable):
            raise InvalidRequest(
                f"a vector of model {model!r} has {vector.values[unusable[0]]} "
                f"at position {unusable[0]}"
            )
        return vector.values

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model served, and every folder that is not with the reason, by name."""
        broken = [
            ModelStatus(name=name, state=ModelState.QUARANTINED, reason=reason)
            for name, reason in self._models.broken.items()
        ]
        served = [self._status(name) for name in self._models.served]
        kept = [
            self._with_space(ModelStatus(name=name, state=ModelState.QUARANTINED, reason=NO_MODEL))
            for name in self._spaces
            if name not in self._models.served
        ]
        return tuple(sorted(broken + served + kept, key=lambda status: status.name))

    def _status(self, name: str) -> ModelStatus:
        model = self._models.served[name]
        state, reason = model.state
        conf = model.folder.conf
        return self._with_space(
            ModelStatus(
                name=name,
                state=state,
                reason=reason,
                input=conf.input,
                feature_dim=conf.feature_dim,
                prediction_dim=conf.prediction_dim,
                fingerprint=model.folder.fingerprint,
                labels=conf.label_names(),
            )
        )

    def _with_space(self, status: ModelStatus) -> ModelStatus:
        space = self._spaces.get(status.name)
        if space is None:
            return status
        return dataclasses.replace(
            status,
            feature_dim=space.record.feature_dim,
            fingerprint=space.record.fingerprint,
            engine=space.engine.name,
            metric=str(space.engine.metric),
            items=len(space),
            adopted=space.record.adopted,
        )
