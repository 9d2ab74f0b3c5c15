"""A model folder: its model.conf, and the fingerprint of what it makes of an item.

EuclidesDB's keys are `name, filename, prediction_dim, feature_dim`; the others are ours. A
section named after a search engine sets options of that engine for this model alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Gt

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import ConfigError, ModelLoadError
from euclidesdb_server.settings import parse_section, read_ini

MODEL_CONF: Final = "model.conf"
LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class ModelConf:
    """Section [model] of a model.conf."""

    name: str
    filename: str
    prediction_dim: Annotated[int, Ge(0)]
    feature_dim: Annotated[int, Ge(1)]
    input: Literal["image"] = "image"
    search_engine: str = ""
    """The engine that searches this model's space; empty: that of the server."""
    image_mode: Literal["RGB", "L"] = "RGB"
    image_size: Annotated[int, Ge(0)] = 0
    """Pixels: resize the shorter side, cut this square from the centre; 0: the image's own size."""
    resize: Annotated[int, Ge(0)] = 0
    """Pixels that the shorter side is resized to before the cut; 0: image_size."""
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

    def label_names(self) -> tuple[str, ...]:
        """The class names, in order of the predictions."""
        return tuple(line.strip() for line in self.labels.splitlines() if line.strip())

    def preprocessing(self) -> dict[str, Any]:
        """Everything that changes what the program is given for an item (JSON values)."""
        return {
            "input": self.input,
            "image_mode": self.image_mode,
            "image_size": self.image_size,
            "resize": self.resize,
        }


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


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that makes sense so far: whether its program works is for the worker.

    engine: that searches its space, with this model's options.
    """

    conf: ModelConf
    program: Path
    fingerprint: str
    engine: SearchEngine


@dataclass(frozen=True, slots=True)
class VectorsFolder:
    """The folder of a space of ready-made vectors."""

    conf: VectorsConf
    fingerprint: str
    engine: SearchEngine


def read_model_folder(folder: Path, engines: Engines | None = None) -> ModelFolder | VectorsFolder:
    """Read model.conf and fingerprint the program.

    engines: the server's; None: the default one. Raises ModelLoadError.
    """
    file = folder / MODEL_CONF
    try:
        if not file.is_file():
            raise ModelLoadError(f"{folder} has no {MODEL_CONF}")
        sections = read_ini(file)
        model = sections.pop("model", None)
        if model is None:
            raise ModelLoadError(f"{file} has no section [model]: it has {[*sections]}")
        conf = _parse(model, file)
        engine = (engines or Engines()).of_model(
            conf.search_engine, sections, file, feature_dim=conf.feature_dim
        )
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    _check_name(conf.name, file)
    if isinstance(conf, VectorsConf):
        return VectorsFolder(conf, _vectors_fingerprint(conf), engine)
    _check(conf, file)
    program = folder / conf.filename
    try:
        digest = hashlib.sha256(json.dumps(conf.preprocessing(), sort_keys=True).encode())
        with program.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ModelLoadError(f"{file}: [model] filename: cannot read {program}: {error}") from error
    return ModelFolder(conf, program, digest.hexdigest()[:32], engine)


def _parse(section: Mapping[str, str], file: Path) -> ModelConf | VectorsConf:
    kinds: dict[str, type[ModelConf | VectorsConf]] = {"image": ModelConf, "vector": VectorsConf}
    takes = section.get("input", "image")
    if takes not in kinds:
        raise ModelLoadError(f"{file}: [model] input = {takes!r}: should be {' or '.join(kinds)}")
    keys = {name: {field.name for field in fields(kind)} for name, kind in kinds.items()}
    for key in section:
        if key not in keys[takes] and key in set().union(*keys.values()):
            raise ModelLoadError(f"{file}: [model] {key} makes no sense with input = {takes}")
    return parse_section(kinds[takes], section, file=file, name="model")


def _vectors_fingerprint(conf: VectorsConf) -> str:
    told = {"input": conf.input, "feature_dim": conf.feature_dim, "version": conf.version}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _check_name(name: str, file: Path) -> None:
    if not name or len(name.encode()) > LONGEST_NAME:
        raise ModelLoadError(
            f"{file}: [model] name = {name!r} should have 1 to {LONGEST_NAME} bytes"
        )


def _check(conf: ModelConf, file: Path) -> None:
    labels = conf.label_names()
    if labels and len(labels) != conf.prediction_dim:
        raise ModelLoadError(
            f"{file}: [model] labels: {len(labels)} names for {conf.prediction_dim} predictions"
        )
    if conf.resize and conf.image_size > conf.resize:
        raise ModelLoadError(
            f"{file}: [model] image_size = {conf.image_size} cannot be cut from "
            f"resize = {conf.resize}"
        )
