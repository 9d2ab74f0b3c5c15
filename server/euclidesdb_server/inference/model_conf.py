"""The section [model] of a model.conf, for each kind of input.

EuclidesDB's keys are `name, filename, prediction_dim, feature_dim`; the others are ours.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from annotated_types import Ge, Gt, Le

from euclidesdb_server.config.ini import CommaSeparated
from euclidesdb_server.errors import ModelLoadError

MAX_NAME_BYTES: Final = 255
FREE: Final = "*"
"""In input_shape: any length."""

Channels: TypeAlias = Annotated[tuple[float, ...], CommaSeparated]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramConf:
    """Section [model] of a model.conf, whatever the program takes."""

    name: str
    filename: str
    feature_dim: Annotated[int, Ge(1)]
    prediction_dim: Annotated[int, Ge(0)] = 0
    """0: the program returns features alone."""
    input: str
    """What the program takes: image, text or tensor; `vector`: there is no program."""
    fingerprint: str = ""
    """Of the version whose vectors this program gives, too (`euclidesdb model compare`); empty:
    the program's own."""
    search_engine: str = ""
    """The engine that searches this model's space; empty: that of the server."""
    labels: str = ""
    """Class names of the predictions, one a line."""
    max_batch_size: Annotated[int, Ge(1)] = 32
    """Items in one forward pass; 1: the model takes no batches."""
    max_wait_ms: Annotated[float, Ge(0)] = 1.0
    """How long the first item of a batch waits for others."""
    max_queue: Annotated[int, Ge(1)] = 1024
    """Items that may wait; one more is refused."""
    inference_timeout: Annotated[float, Gt(0)] = 60.0
    """Seconds after which a batch has hung and its worker is killed."""
    devices: Annotated[tuple[str, ...], CommaSeparated] = ("cpu",)
    """Where it runs: `cpu`, `cuda:0`, or several, separated by commas."""
    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Worker processes on each device."""
    worker: str = ""
    """Models that name the same one here share a worker process."""
    threads: Annotated[int, Ge(0)] = 0
    """Threads of a forward pass in each worker; 0: `[models] worker_threads`."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights and arithmetic; features are kept as float32 in any case."""
    memory_limit_mib: Annotated[int, Ge(0)] = 0
    """Private memory of each worker, in MiB, at which its allocations fail; 0: no limit."""

    @property
    def seats(self) -> list[str]:
        """The device of each worker."""
        return [device for device in self.devices for _ in range(self.workers)]

    def label_names(self) -> tuple[str, ...]:
        """The class names, in order of the predictions."""
        return tuple(line.strip() for line in self.labels.splitlines() if line.strip())

    def preprocessing(self) -> dict[str, Any]:
        """Everything that changes what an item's vector is, beside the program (JSON values).

        A key that was not there when vectors were made is left out where it says nothing new.
        """
        return {} if self.precision == "float32" else {"precision": self.precision}

    def check(self) -> None:
        """Raise ModelLoadError where keys contradict one another."""
        if len(self.fingerprint) > MAX_NAME_BYTES or "@" in self.fingerprint:
            raise ModelLoadError(f"fingerprint = {self.fingerprint[:80]!r} is none")
        if self.worker and self.memory_limit_mib:
            raise ModelLoadError(
                f"memory_limit_mib = {self.memory_limit_mib} is of a whole process, and worker = "
                f"{self.worker} is shared: give one of them"
            )
        labels = self.label_names()
        if labels and len(labels) != self.prediction_dim:
            raise ModelLoadError(
                f"labels: {len(labels)} names for {self.prediction_dim} predictions"
            )
        if self.worker and len(self.seats) > 1:
            raise ModelLoadError(
                f"worker = {self.worker}: a shared worker is one, on one device, not "
                f"{len(self.seats)}"
            )
        for device in self.devices or ("",):
            kind, _, number = device.partition(":")
            if device != "cpu" and not (kind == "cuda" and number.isdecimal()):
                raise ModelLoadError(f"devices: {device!r} should be cpu or cuda:0, cuda:1, ...")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConf(ProgramConf):
    """Section [model] of a model that takes images."""

    input: Literal["image"] = "image"
    image_mode: Literal["RGB", "L"] = "RGB"
    image_size: Annotated[int, Ge(0)] = 0
    """Pixels: resize the shorter side, cut this square from the center; 0: the image's own size."""
    resize: Annotated[int, Ge(0)] = 0
    """Pixels that the shorter side is resized to before the cut; 0: image_size."""
    resize_mode: Literal["shortest_edge", "exact"] = "shortest_edge"
    """`exact`: both sides become image_size, whatever that does to the image."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: Channels = ()
    """Taken from each channel of the pixels in [0, 1]; empty: 0."""
    std: Channels = ()
    """What each channel is then divided by; empty: 1."""

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`."""
        later = {
            "resize_mode": self.resize_mode,
            "interpolation": self.interpolation,
            "mean": [*self.mean],
            "std": [*self.std],
        }
        unsaid = {
            "resize_mode": "shortest_edge",
            "interpolation": "bilinear",
            "mean": [],
            "std": [],
        }
        return {
            "input": self.input,
            "image_mode": self.image_mode,
            "image_size": self.image_size,
            "resize": self.resize,
            **{key: value for key, value in later.items() if value != unsaid[key]},
            **ProgramConf.preprocessing(self),
        }

    def check(self) -> None:
        """As `ProgramConf.check`."""
        ProgramConf.check(self)
        if self.resize and self.image_size > self.resize:
            raise ModelLoadError(
                f"image_size = {self.image_size} cannot be cut from resize = {self.resize}"
            )
        if self.resize_mode == "exact" and not (self.image_size and not self.resize):
            raise ModelLoadError("resize_mode = exact needs image_size, and no resize")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != len(self.image_mode):
                raise ModelLoadError(
                    f"{key}: {len(values)} values for the {len(self.image_mode)} channels of "
                    f"image_mode = {self.image_mode}"
                )
            if not all(math.isfinite(value) for value in values):
                raise ModelLoadError(f"{key} = {values}: should be finite")
        if 0 in self.std:
            raise ModelLoadError("std: a channel cannot be divided by 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConf(ProgramConf):
    """Section [model] of a model that takes texts: `(input_ids, attention_mask)`."""

    input: Literal["text"]
    tokenizer: Path = Path("tokenizer.json")
    """A file of the tokenizers library, in the model folder."""
    max_tokens: Annotated[int, Ge(1), Le(1 << 20)] = 512
    """A longer text is cut."""

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`. Raises OSError."""
        with self.tokenizer.open("rb") as stream:
            tokenizer = hashlib.file_digest(stream, "sha256").hexdigest()
        return {
            "input": self.input,
            "tokenizer": tokenizer,
            "max_tokens": self.max_tokens,
            **ProgramConf.preprocessing(self),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorConf(ProgramConf):
    """Section [model] of a model that takes arrays: audio, sensor windows, anything."""

    input: Literal["tensor"]
    input_shape: Annotated[tuple[str, ...], CommaSeparated]
    """Of one item: lengths, separated by commas; `*`: any length."""
    input_dtype: Literal[
        "float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool"
    ] = "float32"

    def preprocessing(self) -> dict[str, Any]:
        """As `ProgramConf.preprocessing`."""
        return {
            "input": self.input,
            "input_dtype": self.input_dtype,
            **ProgramConf.preprocessing(self),
        }

    def check(self) -> None:
        """As `ProgramConf.check`."""
        ProgramConf.check(self)
        for length in self.input_shape:
            if length != FREE and not (length.isdecimal() and int(length) > 0):
                raise ModelLoadError(
                    f"input_shape: {length!r} should be a length of at least 1, or {FREE}"
                )


@dataclass(frozen=True, slots=True)
class VectorsConf:
    """Section [model] of a model.conf with `input = vector`: no program, ready-made vectors."""

    name: str
    feature_dim: Annotated[int, Ge(1)]
    input: Literal["vector"]
    version: str = ""
    """Names the version of what makes the vectors; another one begins a new space."""
    search_engine: str = ""
    """As `ModelConf.search_engine`."""

    prediction_dim: ClassVar[int] = 0

    def label_names(self) -> tuple[str, ...]:
        """None: nothing is predicted."""
        return ()


KINDS: Final[Mapping[str, type[ProgramConf | VectorsConf]]] = {
    "image": ImageConf,
    "text": TextConf,
    "tensor": TensorConf,
    "vector": VectorsConf,
}
"""By what `input` says."""
