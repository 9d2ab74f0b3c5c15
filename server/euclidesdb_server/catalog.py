"""Catalog: the models served, each with the space of its vectors."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Final

import numpy as np

from euclidesdb_server.checks import distinct
from euclidesdb_server.errors import (
    DatabaseError,
    DeadlineExceeded,
    DimensionMismatch,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
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
    ModelVectors,
    Payload,
    Vector,
)

NO_MODEL: Final = (
    "no model of this name is configured; vectors taken over from EuclidesDB can be searched "
    "by vector and by id"
)

EMBEDDED_AT_ONCE: Final = 128
"""Payloads of one call that are with the models: enough for full batches, one behind another,
and few enough that a call of thousands leaves room in the queue for others."""


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

    def embed_many(
        self, payloads: Sequence[tuple[Payload, Sequence[str]]], call: Call
    ) -> list[dict[str, Embedding] | DatabaseError]:
        """What the models named with each payload say of it, side by side; or why they do not.

        That is UnknownModel, ModelUnavailable, UndecodableInput, ModelFailed, Overloaded, or
        DeadlineExceeded once the caller has no patience left.
        """
        outcomes: list[dict[str, Embedding] | DatabaseError] = []
        under_way: deque[_Embedding] = deque()
        try:
            for payload, names in payloads:
                if len(under_way) == EMBEDDED_AT_ONCE:
                    outcomes.append(under_way.popleft().outcome(call))
                asked = self._ask(payload, names, call)
                while isinstance(asked.error, Overloaded) and under_way:
                    # the queue may be full of this very call: it moves on as it is answered
                    outcomes.append(under_way.popleft().outcome(call))
                    asked = self._ask(payload, names, call)
                under_way.append(asked)
            outcomes += [asked.outcome(call) for asked in under_way]
        finally:
            for asked in under_way:
                asked.cancel()
        return outcomes

    def checked(self, model: str, vector: ModelVector) -> Vector:
        """A caller's vector, fit for the space of the model.

        Raises StaleSpace, DimensionMismatch, InvalidRequest, and as `space` does.
        """
        if vector.values.ndim != 1:
            raise self._wrong_shape(model, vector.values.shape)
        vectors = ModelVectors(vector.values[np.newaxis], vector.fingerprint)
        _, unusable = self.checked_many(model, vectors)
        if unusable:
            raise unusable[0]
        return vector.values

    def checked_many(
        self, model: str, vectors: ModelVectors
    ) -> tuple[ModelSpace, dict[int, DatabaseError]]:
        """The space of the model, and by position why a vector cannot be in it.

        Raises StaleSpace, DimensionMismatch, and as `space` does.
        """
        space = self.space(model)
        record, values = space.record, vectors.values
        if vectors.fingerprint not in (None, "", record.fingerprint):
            raise StaleSpace(
                f"the vector is of version {vectors.fingerprint!r} of model {model!r}, "
                f"which is now {record.fingerprint!r}"
            )
        if values.ndim != 2 or values.shape[1] != record.feature_dim:
            raise self._wrong_shape(model, values.shape[1:])
        finite = np.isfinite(values)
        if finite.all():
            return space, {}
        unusable: dict[int, DatabaseError] = {}
        for row in np.flatnonzero(~finite.all(axis=1)).tolist():
            column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
            unusable[row] = InvalidRequest(
                f"a vector of model {model!r} has {values[row, column]} at position {column}"
            )
        return space, unusable

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

    def _ask(self, payload: Payload, names: Sequence[str], call: Call) -> _Embedding:
        """Begin to embed a payload with each model."""
        asked = _Embedding()
        try:
            served = {name: self._models.get(name) for name in distinct(names)}
            for name, model in served.items():
                asked.futures[name] = future = model.embed(payload)
                call.on_done(future.cancel)
        except DatabaseError as error:
            asked.cancel()
            asked.error = error
        return asked

    def _wrong_shape(self, model: str, shape: tuple[int, ...]) -> DimensionMismatch:
        dim = self.space(model).record.feature_dim
        return DimensionMismatch(f"a vector of model {model!r} has shape ({dim},), not {shape}")

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
            metric=str(space.metric),
            items=len(space),
            adopted=space.record.adopted,
            index=space.status(),
        )


class _Embedding:
    """A payload on its way through its models."""

    __slots__ = ("error", "futures")

    def __init__(self) -> None:
        self.futures: dict[str, Future[Embedding]] = {}
        self.error: DatabaseError | None = None

    def outcome(self, call: Call) -> dict[str, Embedding] | DatabaseError:
        """Wait for all the models; the first error where there is one."""
        if self.error is not None:
            return self.error
        try:
            return {
                name: future.result(timeout=call.time_remaining())
                for name, future in self.futures.items()
            }
        except (TimeoutError, CancelledError):
            return DeadlineExceeded(f"no answer of {', '.join(self.futures)} in time")
        except DatabaseError as error:
            return error
        finally:
            self.cancel()  # spares the work where another model failed

    def cancel(self) -> None:
        """Nobody waits any more."""
        for future in self.futures.values():
            future.cancel()
