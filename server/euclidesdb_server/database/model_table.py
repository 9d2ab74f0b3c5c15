"""ModelTable: the model and the space that each name refers to.

A call resolves each name once, and carries the `Serving` on: whatever is replaced meanwhile, the
call sees one version of each model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from euclidesdb_server.database.leased import Leased
from euclidesdb_server.database.model_listing import listed, readiness, sized_status
from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.space_sizes import SpaceSizes
from euclidesdb_server.database.superseded_space import SupersededSpace, superseded_name
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable, UnknownModel
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.inference import Model
from euclidesdb_server.store import SpaceRecord
from euclidesdb_server.values.status import ModelState


@dataclass(frozen=True, slots=True)
class _State:
    """One moment of the table.

    broken: why a model folder is not served, by folder name. spaces, earlier: by number, those of
    the names that are served, and those of earlier versions.
    """

    servings: Mapping[str, Serving]
    broken: Mapping[str, str]
    spaces: Mapping[int, ModelSpace]
    earlier: Mapping[int, SupersededSpace]


class ModelTable:
    """The servings by name. Thread-safe; readers need no lock, as a change is one assignment.

    broken: why a model folder cannot be served, by folder name. sizes: of the spaces, as `listed`
    takes them.
    """

    def __init__(
        self,
        servings: Iterable[Serving],
        broken: Mapping[str, str],
        sizes: SpaceSizes | None = None,
    ) -> None:
        self._changing = threading.Lock()
        self._sizes = sizes
        self._assign(servings, broken)

    def resolve(self, name: str) -> Serving:
        """What a name refers to now.

        Raises UnknownModel that lists the known names, ModelUnavailable for a broken folder.
        """
        serving = self._state.servings.get(name)
        if serving is None:
            raise self.refusal(name)
        return serving

    def refusal(self, name: str) -> UnknownModel | ModelUnavailable:
        """The error for a name under which no model is served."""
        if (reason := self._state.broken.get(name)) is not None:
            return ModelUnavailable(f"model {name!r} cannot be served: {reason}")
        served = [
            repr(served)
            for served, model in self.models().items()
            if model.state[0] is not ModelState.QUARANTINED
        ]
        known = f"the models served are: {', '.join(served) or 'none'}"
        if name in self._state.servings:
            return UnknownModel(
                f"no model {name!r} is served, but its items can be searched by vector and by id; "
                f"{known}"
            )
        return UnknownModel(f"no model {name!r}; {known}")

    def lease(self, names: Iterable[str]) -> Leased:
        """Resolve names to servings whose models stay usable until the `with` block ends.

        A version may be retired between the moment when it is looked up and the moment when it is
        leased. Then another one has taken its place, and the name is resolved again: this is the
        only retry if a model is replaced.
        """
        leased: dict[str, Serving] = {}
        for name in names:
            while (serving := self._state.servings.get(name)) is not None:
                if serving.leases.acquire():
                    leased[name] = serving
                    break
        return Leased(leased, self.refusal)

    def servings_for(self, kind: str) -> list[Serving]:
        """The models that are ready and take this kind of input, by name.

        Raises ModelUnavailable if there are none.
        """
        servings = self._servings()
        if ready := [each for each in servings if each.takes(kind)]:
            return ready
        states = ", ".join(f"{status.name} ({status.state})" for status in self.statuses())
        raise ModelUnavailable(
            f"no model that takes {kind}s is ready; the server has: {states or 'none'}"
        )

    def servings_with(self, spaces: Iterable[int]) -> list[Serving]:
        """The models served now whose space has one of these numbers, by name; all if none has.

        Raises ModelUnavailable if no model has a space.
        """
        numbers = {*spaces}
        searchable = [
            (each, each.space.record.number)
            for each in self._servings()
            if each.model is not None and each.space is not None
        ]
        if not searchable:
            raise ModelUnavailable("no model is served whose space could be searched")
        chosen = [each for each, number in searchable if number in numbers]
        return chosen or [each for each, _ in searchable]

    def open_space(self, name: str) -> ModelSpace | None:
        """The space that a name refers to, if it is open."""
        serving = self._state.servings.get(name)
        return None if serving is None else serving.space

    def served(self) -> list[Serving]:
        """The models that are served now, by name."""
        return [each for each in self._servings() if each.model is not None]

    def current_version(self, model: str) -> SpaceRecord | None:
        """The space that the name of a model stands for; None if it stands for none."""
        serving = self._state.servings.get(model)
        return None if serving is None else serving.record

    def earlier_numbers(self, model: str) -> tuple[int, ...]:
        """The spaces of the superseded versions of a model, ascending."""
        earlier = self._state.earlier.items()
        return tuple(sorted(number for number, each in earlier if each.record.model == model))

    def models(self) -> dict[str, Model]:
        """The models that are served now, by name."""
        return {each.name: each.model for each in self._servings() if each.model is not None}

    def spaces(self) -> list[ModelSpace]:
        """Every space that is open, those of superseded versions included."""
        state = self._state
        earlier = [space for each in state.earlier.values() if (space := each.opened) is not None]
        return [*state.spaces.values(), *earlier]

    def space_numbered(self, number: int) -> ModelSpace | None:
        """The space of that number; None if it is not open."""
        state = self._state
        earlier = state.earlier.get(number)
        return state.spaces.get(number) if earlier is None else earlier.opened

    def delete_rows(self, number: int, labels: Sequence[int]) -> ModelSpace | None:
        """Delete rows of a space that the store has deleted; those that a search could return.

        Returns the space if it is open.
        """
        state = self._state
        if (earlier := state.earlier.get(number)) is not None:
            earlier.delete(labels)
            return earlier.opened
        space = state.spaces.get(number)
        if space is not None:
            space.delete(labels)
        return space

    def space_of_version(self, model: str, fingerprint: str) -> ModelSpace | None:
        """The space of a model version, opened if it is not; None if there is none yet.

        Raises what `SupersededSpace.open` raises.
        """
        state = self._state
        version = (model, fingerprint)
        for space in state.spaces.values():
            if (space.record.model, space.record.fingerprint) == version:
                return space
        for earlier in state.earlier.values():
            if (earlier.record.model, earlier.record.fingerprint) == version:
                return earlier.open()
        return None

    def superseded_name(self, model: str, fingerprint: str) -> str | None:
        """The name of the space of an earlier version; None if there is no such space."""
        name = superseded_name(model, fingerprint)
        return name if name in self._state.servings else None

    def serve(self, model: Model, space: ModelSpace, folder: str) -> Serving | None:
        """Serve a model and its space under the model's name.

        folder: the name of the folder that the model was loaded from.

        Returns what was served under the name, or None; its space becomes a superseded one.
        """
        name = model.folder.conf.name
        with self._changing:
            state = self._state
            before = state.servings.get(name)
            servings = {
                key: each
                for key, each in state.servings.items()
                if each.earlier is None or each.earlier.record.number != space.record.number
            }
            if before is not None and before.space is not None and before.space is not space:
                superseded = superseded_serving(SupersededSpace.of(before.space))
                servings[superseded.name] = superseded
            servings[name] = Serving(name, model, space)
            broken = {key: reason for key, reason in state.broken.items() if key != folder}
            self._assign(servings.values(), broken)
        return before

    def withdraw(self, name: str) -> Serving:
        """Stop serving a model; its space can still be searched. Returns what was served.

        Raises UnknownModel, ModelUnavailable.
        """
        with self._changing:
            state = self._state
            before = self.resolve(name)
            if before.model is None:
                raise self.refusal(name)
            servings = {key: each for key, each in state.servings.items() if key != name}
            if before.space is not None:
                servings[name] = Serving(name, None, before.space)
            self._assign(servings.values(), state.broken)
        return before

    def earlier_version(self, name: str) -> SupersededSpace:
        """The space of an earlier version.

        Raises UnknownModel if there is no such version, InvalidRequest if it is not an earlier one.
        """
        servings = self._servings()
        for serving in servings:
            if serving.name == name and serving.earlier is not None:
                return serving.earlier
        for serving in servings:
            record = serving.record
            version = None if record is None else superseded_name(record.model, record.fingerprint)
            if name in (serving.name, version):
                raise InvalidRequest(
                    f"{name!r} is not a superseded version: {serving.name!r} stands for it, so it "
                    "cannot be dropped"
                )
        known = ", ".join(repr(each.name) for each in servings if each.superseded) or "none"
        raise UnknownModel(f"no version {name!r}; the superseded versions are: {known}")

    def forget(self, space: SupersededSpace) -> None:
        """Serve an earlier version no longer."""
        with self._changing:
            state = self._state
            servings = [each for each in state.servings.values() if each.earlier is not space]
            self._assign(servings, state.broken)

    def status(self, name: str) -> ModelStatus:
        """What a name stands for now. Raises what `resolve` raises."""
        return sized_status(self.resolve(name), self._sizes)

    def readiness(self) -> dict[str, bool]:
        """Whether each model embeds payloads now, by name; broken folders by theirs."""
        return readiness(self._state.servings.values(), self._state.broken)

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Everything that has a name, by name: the models served, the folders that cannot be
        served with the reason, and the spaces of models and versions that are served no longer.
        """
        return listed(self._state.servings.values(), self._state.broken, self._sizes)

    def _servings(self) -> Sequence[Serving]:
        return sorted(self._state.servings.values(), key=lambda serving: serving.name)

    def _assign(self, servings: Iterable[Serving], broken: Mapping[str, str]) -> None:
        by_name = {serving.name: serving for serving in servings}
        spaces = {
            serving.space.record.number: serving.space
            for serving in by_name.values()
            if serving.space is not None
        }
        earlier = {
            serving.earlier.record.number: serving.earlier
            for serving in by_name.values()
            if serving.earlier is not None
        }
        self._state = _State(by_name, dict(broken), spaces, earlier)
