"""A model folder: its model.conf, its program, and the fingerprint of its version.

A section of model.conf that is named after a search engine sets options of that engine for this
model only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from euclidesdb_server.config.ini import parse_section, read_ini
from euclidesdb_server.config.paths import given_path
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.registry import Engines
from euclidesdb_server.engines.trials import Case
from euclidesdb_server.errors import ConfigError, ModelLoadError
from euclidesdb_server.inference.fingerprint import program_fingerprint, vectors_fingerprint
from euclidesdb_server.inference.input_kinds import INPUT_KINDS
from euclidesdb_server.inference.load_errors import FilesChanged, LoadInterrupted
from euclidesdb_server.inference.model_conf import MAX_NAME_BYTES, ProgramConf, VectorsConf
from euclidesdb_server.values.stop import CheckStop, never_stop

MODEL_CONF: Final = "model.conf"

DEFAULT_INPUT: Final = "image"
"""EuclidesDB's model.conf has no key `input`: all its models take images."""

CONF_CLASSES: Final[Mapping[str, type[ProgramConf | VectorsConf]]] = {
    **INPUT_KINDS,
    "vector": VectorsConf,
}
"""The section [model], by the value of `input`."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder with a program. Whether the program works is for the worker to find out.

    fingerprint: of the version that the vectors belong to, which model.conf may name.
    engine: searches the space, with this model's options.
    files_fingerprint: of the files themselves.
    """

    conf: ProgramConf
    program: Path
    fingerprint: str
    engine: SearchEngine
    files_fingerprint: str = ""

    def is_like(self, other: ModelFolder | VectorsFolder) -> bool:
        """Whether the other has the same program and the same model.conf."""
        return isinstance(other, ModelFolder) and (self.conf, self.files_fingerprint) == (
            other.conf,
            other.files_fingerprint,
        )

    def check_unchanged(self) -> None:
        """Raise FilesChanged if the files changed since the folder was read, LoadInterrupted if
        they cannot be read now.

        A worker that starts again would make vectors of another version.
        """
        try:
            fingerprint = program_fingerprint(self.conf, self.program)
        except ModelLoadError as error:
            raise LoadInterrupted(str(error)) from error
        if fingerprint != self.files_fingerprint:
            raise FilesChanged(
                f"the files in {self.program.parent} have changed since they were loaded: reload "
                f"model {self.conf.name!r}"
            )


@dataclass(frozen=True, slots=True)
class VectorsFolder:
    """The folder of a space of ready-made vectors."""

    conf: VectorsConf
    fingerprint: str
    engine: SearchEngine

    def is_like(self, other: ModelFolder | VectorsFolder) -> bool:
        """Whether the other has the same model.conf."""
        return isinstance(other, VectorsFolder) and self.conf == other.conf


def read_model_folder(
    folder: Path, engines: Engines | None = None, check_stop: CheckStop = never_stop
) -> ModelFolder | VectorsFolder:
    """Read model.conf, compute the fingerprint, and try the search engine.

    engines: the server's; None: the defaults. Raises ModelLoadError, and what `check_stop` raises.
    """
    engines = engines or Engines()
    read = parse_model_folder(folder, engines, check_stop)
    try:
        refusal = engine_refusals([read], engines)[0]
    except ConfigError as error:
        raise ModelLoadError(f"{folder / MODEL_CONF}: {error}") from error
    if refusal is not None:
        raise ModelLoadError(f"{folder / MODEL_CONF}: {refusal}")
    return read


def engine_refusals(
    folders: Sequence[ModelFolder | VectorsFolder], engines: Engines
) -> list[str | None]:
    """Why the engine of each cannot index its vectors; None: it can. Raises as `refusals`."""
    cases = [Case(folder.engine, folder.conf.feature_dim) for folder in folders]
    return [
        f"[model] feature_dim = {case.dim}: {reason}" if reason else None
        for case, reason in zip(cases, engines.refusals(cases), strict=True)
    ]


def parse_model_folder(
    folder: Path, engines: Engines, check_stop: CheckStop = never_stop
) -> ModelFolder | VectorsFolder:
    """As `read_model_folder`, but without trying the search engine."""
    try:
        return _parse_folder(folder, engines, check_stop)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name of a file
        raise ModelLoadError(f"cannot read {folder}: {error}") from error


def _parse_folder(
    folder: Path, engines: Engines, check_stop: CheckStop
) -> ModelFolder | VectorsFolder:
    file = folder / MODEL_CONF
    try:
        if not file.is_file():
            raise ModelLoadError(f"{folder} has no {MODEL_CONF}")
        sections = read_ini(file)
        model = sections.pop("model", None)
        if model is None:
            raise ModelLoadError(
                f"{file} has no section [model]; its sections are: {', '.join(sections) or 'none'}"
            )
        conf = _parse(model, file)
        engine = engines.of_model(conf.search_engine, sections, file)
    except ConfigError as error:
        raise ModelLoadError(str(error)) from error
    _check_name(conf.name, file)
    if isinstance(conf, VectorsConf):
        return VectorsFolder(conf, vectors_fingerprint(conf), engine)
    try:
        program = folder / given_path(conf.filename)
        conf.check()
        files_fingerprint = program_fingerprint(conf, program, check_stop)
    except ModelLoadError as error:
        raise ModelLoadError(f"{file}: [model] {error}") from error
    except ConfigError as error:
        raise ModelLoadError(f"{file}: [model] filename = {error}") from error
    fingerprint = conf.fingerprint or files_fingerprint
    return ModelFolder(conf, program, fingerprint, engine, files_fingerprint)


def _parse(section: Mapping[str, str], file: Path) -> ProgramConf | VectorsConf:
    kind = section.get("input", DEFAULT_INPUT)
    if kind not in CONF_CLASSES:
        raise ModelLoadError(
            f"{file}: [model] input = {kind!r}: should be {' or '.join(CONF_CLASSES)}"
        )
    keys = {name: {field.name for field in fields(conf)} for name, conf in CONF_CLASSES.items()}
    for key in section:
        if key not in keys[kind] and key in set().union(*keys.values()):
            raise ModelLoadError(f"{file}: [model] {key} does not apply to input = {kind}")
    return parse_section(CONF_CLASSES[kind], section, file=file, name="model")


def _check_name(name: str, file: Path) -> None:
    if "@" in name:  # `model@fingerprint` names a superseded version
        raise ModelLoadError(f"{file}: [model] name = {name!r} must not contain @")
    if not name or len(name.encode()) > MAX_NAME_BYTES:
        raise ModelLoadError(
            f"{file}: [model] name = {name!r} should have 1 to {MAX_NAME_BYTES} bytes"
        )
