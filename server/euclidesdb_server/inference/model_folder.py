"""A model folder: its model.conf, and the fingerprint of what it makes of an item.

A section of model.conf that is named after a search engine sets options of that engine for this
model alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from euclidesdb_server.config.ini import parse_section, read_ini
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.errors import ConfigError, ModelLoadError
from euclidesdb_server.inference.model_conf import KINDS, MAX_NAME_BYTES, ProgramConf, VectorsConf

MODEL_CONF: Final = "model.conf"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that makes sense so far: whether its program works is for the worker.

    engine: that searches its space, with this model's options.
    """

    conf: ProgramConf
    program: Path
    fingerprint: str
    engine: SearchEngine
    made_of: str = ""
    """The fingerprint of the files themselves, whatever version the conf names."""

    def check_unchanged(self) -> None:
        """Raise ModelLoadError where the files are not what they were when the folder was read.

        A worker that starts again would make vectors of another version.
        """
        if _fingerprint(self.conf, self.program, self.program.parent / MODEL_CONF) != self.made_of:
            raise ModelLoadError(
                f"the files in {self.program.parent} have changed since they were loaded: reload "
                f"model {self.conf.name!r}"
            )


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
    try:
        conf.check()
    except ModelLoadError as error:
        raise ModelLoadError(f"{file}: [model] {error}") from error
    program = folder / conf.filename
    made_of = _fingerprint(conf, program, file)
    return ModelFolder(conf, program, conf.fingerprint or made_of, engine, made_of)


def _parse(section: Mapping[str, str], file: Path) -> ProgramConf | VectorsConf:
    takes = section.get("input", "image")
    if takes not in KINDS:
        raise ModelLoadError(f"{file}: [model] input = {takes!r}: should be {' or '.join(KINDS)}")
    keys = {name: {field.name for field in fields(kind)} for name, kind in KINDS.items()}
    for key in section:
        if key not in keys[takes] and key in set().union(*keys.values()):
            raise ModelLoadError(f"{file}: [model] {key} makes no sense with input = {takes}")
    return parse_section(KINDS[takes], section, file=file, name="model")


def _fingerprint(conf: ProgramConf, program: Path, file: Path) -> str:
    key = "tokenizer"
    try:
        digest = hashlib.sha256(json.dumps(conf.preprocessing(), sort_keys=True).encode())
        key = "filename"
        with program.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ModelLoadError(
            f"{file}: [model] {key}: cannot read {error.filename}: {error}"
        ) from error
    return digest.hexdigest()[:32]


def _vectors_fingerprint(conf: VectorsConf) -> str:
    told = {"input": conf.input, "feature_dim": conf.feature_dim, "version": conf.version}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _check_name(name: str, file: Path) -> None:
    if not name or len(name.encode()) > MAX_NAME_BYTES:
        raise ModelLoadError(
            f"{file}: [model] name = {name!r} should have 1 to {MAX_NAME_BYTES} bytes"
        )
