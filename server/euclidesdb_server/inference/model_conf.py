"""The section [model] of a model.conf: the keys that do not depend on the kind of input.

EuclidesDB's keys are `name, filename, prediction_dim, feature_dim`; the others are ours. Each kind
of input adds its own keys in `input_kinds/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Le

from euclidesdb_server.config.ini import CommaSeparated
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.values.payload import Payload

MAX_NAME_BYTES: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramConf:
    """Section [model] of a model with a program; the base of each kind of input."""

    name: str
    filename: str
    feature_dim: Annotated[int, Ge(1)]
    prediction_dim: Annotated[int, Ge(0)] = 0
    """0: the program returns features only."""
    input: str
    """What the program takes: a key of `INPUT_KINDS`."""
    fingerprint: str = ""
    """The version whose vectors this program makes, too (`euclidesdb model compare`); empty: the
    fingerprint of its own files."""
    search_engine: str = ""
    """The engine that searches this model's space; empty: that of the server."""
    labels: str = ""
    """Class names of the predictions, one per line."""
    max_batch_size: Annotated[int, Ge(1)] = 32
    """Items in one forward pass; 1: the model takes no batches."""
    max_wait_ms: Annotated[float, Ge(0)] = 1.0
    """How long the first item of a batch waits for others."""
    max_queue: Annotated[int, Ge(1)] = 1024
    """Items that may wait; one more is refused."""
    inference_timeout: Annotated[float, Gt(0)] = 60.0
    """Seconds after which a batch counts as hung and its worker is killed."""
    devices: Annotated[tuple[str, ...], CommaSeparated] = ("cpu",)
    """Where it runs: `cpu`, `cuda:0`, or several, separated by commas."""
    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Worker processes on each device."""
    worker: str = ""
    """The name of a shared worker: models with the same name here run in one process."""
    threads: Annotated[int, Ge(0)] = 0
    """Threads, in each worker, of a forward pass that takes more than 2 ms; 0:
    `[models] worker_threads`."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights and arithmetic; features are stored as float32 in any case."""
    memory_limit_mib: Annotated[int, Ge(0)] = 0
    """Private memory of each worker, in MiB, beyond which allocations fail; 0: no limit."""

    @property
    def seats(self) -> list[str]:
        """The device of each worker."""
        return [device for device in self.devices for _ in range(self.workers)]

    @property
    def item_cost(self) -> Callable[[Payload], int] | None:
        """A function that estimates what an item costs in a batch; None: all cost the same.

        Items of similar cost share a batch.
        """
        return None

    def label_names(self) -> tuple[str, ...]:
        """The class names, in the order of the predictions."""
        return tuple(line.strip() for line in self.labels.splitlines() if line.strip())

    def preprocessing(self) -> dict[str, Any]:
        """Everything besides the program that changes an item's vector, as JSON values.

        It enters the fingerprint, so a key that was added later is left out at its default: models
        that do not use it keep their fingerprint. Raises ModelLoadError.
        """
        return {} if self.precision == "float32" else {"precision": self.precision}

    def check(self) -> None:
        """Raise ModelLoadError if keys contradict one another."""
        if len(self.fingerprint) > MAX_NAME_BYTES or "@" in self.fingerprint:
            raise ModelLoadError(
                f"fingerprint = {self.fingerprint[:80]!r} should have at most {MAX_NAME_BYTES} "
                "characters and no @"
            )
        if self.worker and self.memory_limit_mib:
            raise ModelLoadError(
                f"memory_limit_mib = {self.memory_limit_mib} limits a whole process, but worker = "
                f"{self.worker} is shared: set one of them"
            )
        labels = self.label_names()
        if labels and len(labels) != self.prediction_dim:
            raise ModelLoadError(
                f"labels: {len(labels)} names for {self.prediction_dim} predictions"
            )
        if self.worker and len(self.seats) > 1:
            raise ModelLoadError(
                f"worker = {self.worker}: a shared worker is one process on one device, not "
                f"{len(self.seats)}"
            )
        for device in self.devices or ("",):
            kind, _, number = device.partition(":")
            if device != "cpu" and not (kind == "cuda" and number.isdecimal()):
                raise ModelLoadError(f"devices: {device!r} should be cpu or cuda:0, cuda:1, ...")


@dataclass(frozen=True, slots=True)
class VectorsConf:
    """Section [model] with `input = vector`: there is no program, clients send the vectors."""

    name: str
    feature_dim: Annotated[int, Ge(1)]
    input: Literal["vector"]
    version: str = ""
    """The version of whatever makes the vectors; another one begins a new space."""
    search_engine: str = ""
    """As `ProgramConf.search_engine`."""

    prediction_dim: ClassVar[int] = 0

    def label_names(self) -> tuple[str, ...]:
        """Empty: there are no predictions."""
        return ()
