"""Serving: what the name of a model refers to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from euclidesdb_server.database.leases import Leases
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.inference import Model
from euclidesdb_server.store import SpaceRecord
from euclidesdb_server.values.status import ModelState

UNLOADED: Final = "no model of this name is served; its items can be searched by vector and by id"
SUPERSEDED: Final = "an earlier version of the model; its items can be searched by vector and by id"


@dataclass(frozen=True, slots=True)
class Serving:
    """What a name refers to: a model and the space of its version.

    model: None if no model of this name is served (any more): its space can still be searched by
    vector and by id. space: None if the model has never been ready. earlier: the space of an
    earlier version, whose `name` is `model@fingerprint`; it has neither a model nor another space.
    """

    name: str
    model: Model | None
    space: ModelSpace | None
    earlier: SupersededSpace | None = None
    leases: Leases = field(default_factory=Leases)

    @property
    def superseded(self) -> bool:
        """Whether this is an earlier version."""
        return self.earlier is not None

    @property
    def record(self) -> SpaceRecord | None:
        """The record of its space; None if there is none."""
        space = self.space if self.earlier is None else self.earlier
        return None if space is None else space.record

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that the model predicts; empty if they are not known."""
        return () if self.model is None else self.model.folder.conf.label_names()

    @property
    def state(self) -> tuple[ModelState, str]:
        """The state, and why no payload can be embedded."""
        if self.superseded:
            return ModelState.SUPERSEDED, SUPERSEDED
        if self.model is None:
            return ModelState.UNLOADED, UNLOADED
        state, reason = self.model.state
        if self.space is None and state is not ModelState.QUARANTINED:
            # it was not ready at the start: see `ModelLifecycle.serve_when_ready`
            return ModelState.LOADING, reason or "its space is being opened"
        return state, reason

    def searchable_space(self, check: Callable[[], None] = lambda: None) -> ModelSpace:
        """The space to search. Raises ModelUnavailable if there is none.

        That of an earlier version is opened if it is not: as `SupersededSpace.open`, also `check`.
        """
        if self.earlier is not None:
            return self.earlier.open(check)
        if self.space is not None:
            return self.space
        state, reason = self.state
        raise ModelUnavailable(f"model {self.name!r} is {state}: {reason}")

    def writable_space(self) -> ModelSpace:
        """The space to add to. Raises InvalidRequest for a superseded one, ModelUnavailable."""
        if self.superseded:
            raise InvalidRequest(
                f"{self.name!r} is a superseded version: items are added to the current one"
            )
        return self.searchable_space()

    def takes(self, kind: str) -> bool:
        """Whether the model is ready and takes this kind of input."""
        model = self.model
        return (
            model is not None
            and self.space is not None
            and model.folder.conf.input == kind
            and model.state[0] is ModelState.READY
        )


def superseded_serving(space: SupersededSpace) -> Serving:
    """What the name of an earlier version refers to."""
    return Serving(space.name, None, None, earlier=space)


def status_of(serving: Serving) -> ModelStatus:
    """The state of what a name refers to. The items of a space that is not open are not counted."""
    model, space, earlier = serving.model, serving.space, serving.earlier
    state, reason = serving.state
    if earlier is not None:
        space = earlier.opened
    if model is None:
        status = ModelStatus(name=serving.name, state=state, reason=reason)
    else:
        conf = model.folder.conf
        items_run, batches_run = model.run_counts
        status = ModelStatus(
            name=serving.name,
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
    record = serving.record
    if record is not None:
        status = replace(
            status,
            feature_dim=record.feature_dim,
            fingerprint=record.fingerprint,
            adopted=record.adopted,
        )
    if space is None:
        return status
    return replace(
        status,
        engine=space.engine.name,
        metric=str(space.metric),
        items=len(space),
        index=space.status(),
    )
