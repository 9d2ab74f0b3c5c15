"""The model folder: written under a temporary name, read back, checked, and then renamed."""

from __future__ import annotations

import configparser
import os
import shutil
from pathlib import Path

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.export.program import FILES, check_folder, outputs_of, write_program
from euclidesdb_server.export.subject import ExportError, ProgramOutput, Subject
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.model_folder import MODEL_CONF, ModelFolder, read_model_folder
from euclidesdb_server.system.fsync import make_folder, sync


def refuse_used(folder: Path) -> None:
    """Raise ExportError if `folder` already exists and is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(f"{folder} already exists and is not an empty folder")


def make_model_folder(
    folder: Path, subject: Subject, *, name: str, program_format: str
) -> tuple[ProgramConf, float]:
    """Make the folder; return its model.conf and the largest difference to the original's outputs.

    Raises ExportError, and OSError if a file cannot be written; then `folder` is unchanged.
    """
    refuse_used(folder)
    make_folder(folder.absolute().parent)
    draft = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    draft.mkdir()
    try:
        filename = FILES[program_format]
        outputs = outputs_of(subject)
        write_program(subject, draft / filename)
        for file, content in subject.files.items():
            (draft / file).write_text(content, encoding="utf-8")
        _write_conf(draft / MODEL_CONF, subject, outputs, name, filename)
        written = _read_back(draft, subject, name)
        difference = check_folder(written, subject)
        for each in (*draft.iterdir(), draft):
            sync(each)
        draft.rename(folder.absolute())
        sync(folder.absolute().parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written.conf, difference


def _write_conf(
    path: Path, subject: Subject, outputs: ProgramOutput, name: str, filename: str
) -> None:
    conf = configparser.ConfigParser(interpolation=None)
    conf["model"] = {
        "name": name,
        "filename": filename,
        "prediction_dim": str(outputs[0].shape[1]),
        "feature_dim": str(outputs[1].shape[1]),
        **subject.conf,
    }
    if subject.similarity.search_engine:
        conf["model"]["search_engine"] = subject.similarity.search_engine
    for engine, section in subject.similarity.sections.items():
        conf[engine] = section
    if subject.labels:
        conf["model"]["labels"] = "\n".join(["", *subject.labels])
    with path.open("w", encoding="utf-8") as file:
        conf.write(file)


def _read_back(draft: Path, subject: Subject, name: str) -> ModelFolder:
    """The folder as the server reads it: an INI file cannot hold every name and label."""
    try:
        written = read_model_folder(draft)
    except ModelLoadError as error:
        raise ExportError(str(error).replace(f"{draft}{os.sep}", "")) from error
    if not isinstance(written, ModelFolder):
        raise ExportError(f"the {MODEL_CONF} written names no program")
    if written.conf.name != name:
        raise ExportError(f"{MODEL_CONF} cannot hold the name {name!r}: got {written.conf.name!r}")
    for label, read in zip(subject.labels, written.conf.label_names(), strict=True):
        if label != read:
            raise ExportError(f"{MODEL_CONF} cannot hold the label {label!r}: got {read!r}")
    return written
