"""Serving: what the name of a model refers to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from euclidesdb_server.database.leases import Leases
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.inference import Model
from euclidesdb_server.values.status import ModelState

UNLOADED: Final = "no model of this name is served; its items can be searched by vector and by id"
SUPERSEDED: Final = "an earlier version of the model; its items can be searched by vector and by id"


@dataclass(frozen=True, slots=True)
class Serving:
    """What a name refers to: a model and the space of its version.

    model: None if no model of this name is served (any more): its space can still be searched by
    vector and by id. space: None if the model has never been ready. superseded: the space is that
    of an earlier version, and `name` is `model@fingerprint`.
    """

    name: str
    model: Model | None
    space: ModelSpace | None
    superseded: bool = False
    leases: Leases = field(default_factory=Leases)

    def searchable_space(self) -> ModelSpace:
        """The space to search. Raises ModelUnavailable if there is none."""
        if self.space is not None:
            return self.space
        reason = "" if self.model is None else self.model.state[1]
        raise ModelUnavailable(f"model {self.name!r} is quarantined: {reason}")

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


def superseded_serving(space: ModelSpace) -> Serving:
    """What the name of the space of an earlier version refers to."""
    name = superseded_name(space.record.model, space.record.fingerprint)
    return Serving(name, None, space, superseded=True)


def superseded_name(model: str, fingerprint: str) -> str:
    """The name under which the space of an earlier version is served."""
    return f"{model}@{fingerprint}"


def status_of(serving: Serving) -> ModelStatus:
    """The state of what a name refers to."""
    model, space = serving.model, serving.space
    if model is None:
        superseded = serving.superseded
        status = ModelStatus(
            name=serving.name,
            state=ModelState.SUPERSEDED if superseded else ModelState.UNLOADED,
            reason=SUPERSEDED if superseded else UNLOADED,
        )
    else:
        state, reason = model.state
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
    if space is None:
        return status
    return replace(
        status,
        feature_dim=space.record.feature_dim,
        fingerprint=space.record.fingerprint,
        engine=space.engine.name,
        metric=str(space.metric),
        items=len(space),
        adopted=space.record.adopted,
        index=space.status(),
    )
