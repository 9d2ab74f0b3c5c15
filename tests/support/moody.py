"""A model in this process that fails on the items that the test says, in place of a worker."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np

from euclidesdb_server.errors import FailureReason, ModelFailed
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

DIM = 2


def payload_of(value: int) -> Payload:
    """What stands for an image: no worker decodes it."""
    return Payload("image", bytes([value]))


def features_of(value: int, version: int) -> list[float]:
    return [float(value), float(version)]


class InProcessModel:
    """A `Model` whose features are the value of a payload and the number of its version.

    failures: why it fails, by value; the test changes it.
    """

    queue_length = 0

    def __init__(self, name: str, version: int, failures: dict[int, FailureReason]) -> None:
        conf = SimpleNamespace(
            name=name, input="image", feature_dim=DIM, prediction_dim=0, label_names=lambda: ()
        )
        self.folder: Any = SimpleNamespace(conf=conf, fingerprint=f"version {version}")
        self.state = ModelState.READY, ""
        self._version = version
        self._failures = failures
        self._run = 0

    @property
    def run_counts(self) -> tuple[int, int]:
        return self._run, self._run

    def embed(self, payload: Payload, *, beyond_limit: bool = False) -> Future[Embedding]:
        del beyond_limit
        self._run += 1
        value = payload.data[0]
        future: Future[Embedding] = Future()
        reason = self._failures.get(value)
        if reason is None:
            features = np.array(features_of(value, self._version), np.float32)
            future.set_result(Embedding(features, np.zeros(0, np.float32)))
        else:
            future.set_exception(ModelFailed(f"it does not like {value}", reason))
        return future
