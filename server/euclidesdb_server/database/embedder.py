"""Embedder: has models look at payloads, several at once, each version in the space of its own."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.database.requests import Call
from euclidesdb_server.database.validation import distinct
from euclidesdb_server.errors import (
    DatabaseError,
    DeadlineExceeded,
    ModelUnavailable,
    Overloaded,
    Unavailable,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.inference import EmbeddingCache, Model, ModelRegistry
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

EMBEDDED_AT_ONCE: Final = 128
"""Payloads of one call that are with the models: enough for full batches, one behind another,
and few enough that a call of thousands leaves room in the queue for others."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a model said of a payload, and the space of the version that said it."""

    space: ModelSpace
    embedding: Embedding


class Embedder:
    """Thread-safe. cache: None: nothing is remembered."""

    def __init__(
        self, models: ModelRegistry, catalog: Catalog, cache: EmbeddingCache | None = None
    ) -> None:
        self._models = models
        self._catalog = catalog
        self._cache = cache

    def embed_many(
        self, payloads: Sequence[tuple[Payload, Sequence[str]]], call: Call
    ) -> list[dict[str, Embedded] | DatabaseError]:
        """What the models named with each payload say of it, side by side; or why they do not.

        That is UnknownModel, ModelUnavailable, UndecodableInput, ModelFailed, Overloaded, or
        DeadlineExceeded once the caller has no patience left.
        """
        outcomes: list[dict[str, Embedded] | DatabaseError] = []
        under_way: deque[_Asked] = deque()
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

    def _ask(self, payload: Payload, names: Sequence[str], call: Call) -> _Asked:
        """Begin to embed a payload with each model."""
        asked = _Asked()
        try:
            wanted = distinct(names)
            for name in wanted:
                self._models.get(name)  # raises before any has begun
            digest = b"" if self._cache is None else payload.digest()
            for name in wanted:
                asked.spaces[name], future = self._begin(name, payload, digest)
                asked.futures[name] = future
                call.on_done(future.cancel)
        except DatabaseError as error:
            asked.cancel()
            asked.error = error
        return asked

    def _begin(
        self, name: str, payload: Payload, digest: bytes
    ) -> tuple[ModelSpace, Future[Embedding]]:
        """What a model will say, and the space of the version that it is."""
        while True:
            model = self._models.get(name)
            try:
                future = self._embed(model, payload, digest)
            except Unavailable:
                if self._models.served.get(name) is model:
                    raise
                continue  # it was replaced meanwhile
            # by version: another may be current by now
            space = self._catalog.version(name, model.folder.fingerprint)
            if space is None:
                future.cancel()
                raise ModelUnavailable(f"model {name!r} is {' '.join(model.state)}")
            return space, future

    def _embed(self, model: Model, payload: Payload, digest: bytes) -> Future[Embedding]:
        conf = model.folder.conf
        if self._cache is None or payload.kind != conf.input:
            return model.embed(payload)
        # a fingerprint may be a name that somebody gave, to more models than one
        version = (conf.name, model.folder.fingerprint, conf.feature_dim, conf.prediction_dim)
        return self._cache.embed((version, digest), functools.partial(model.embed, payload))


class _Asked:
    """A payload on its way through its models."""

    __slots__ = ("error", "futures", "spaces")

    def __init__(self) -> None:
        self.futures: dict[str, Future[Embedding]] = {}
        self.spaces: dict[str, ModelSpace] = {}
        self.error: DatabaseError | None = None

    def outcome(self, call: Call) -> dict[str, Embedded] | DatabaseError:
        """Wait for all the models; the first error where there is one."""
        if self.error is not None:
            return self.error
        try:
            return {
                name: Embedded(self.spaces[name], future.result(timeout=call.time_remaining()))
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
