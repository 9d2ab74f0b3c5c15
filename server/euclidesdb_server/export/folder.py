"""The model folder: written beside its place, read back, checked, and only then put there."""

from __future__ import annotations

import configparser
import os
import shutil
from pathlib import Path

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.export.program import FILES, answer_of, check_folder, write_program
from euclidesdb_server.export.subject import Answer, ExportError, Subject
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.model_folder import MODEL_CONF, ModelFolder, read_model_folder
from euclidesdb_server.system.fsync import make_folder, sync


def refuse_used(folder: Path) -> None:
    """Raise ExportError where `folder` is there already, and not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExportError(f"{folder} is there already, and not an empty folder")


def make_model_folder(
    folder: Path, subject: Subject, *, name: str, program_format: str
) -> tuple[ProgramConf, float]:
    """Its model.conf, and how far its answers are from the original's at most.

    Raises ExportError, and OSError where the disk refuses; then `folder` is as it was.
    """
    refuse_used(folder)
    make_folder(folder.absolute().parent)
    draft = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    draft.mkdir()
    try:
        filename = FILES[program_format]
        answer = answer_of(subject)
        write_program(subject, draft / filename)
        for file, content in subject.files.items():
            (draft / file).write_text(content, encoding="utf-8")
        _write_conf(draft / MODEL_CONF, subject, answer, name, filename)
        written = _read_back(draft, subject, name)
        difference = check_folder(written, subject)
        for each in (*draft.iterdir(), draft):
            sync(each)
        draft.rename(folder.absolute())
        sync(folder.absolute().parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written.conf, difference


def _write_conf(path: Path, subject: Subject, answer: Answer, name: str, filename: str) -> None:
    conf = configparser.ConfigParser(interpolation=None)
    conf["model"] = {
        "name": name,
        "filename": filename,
        "prediction_dim": str(answer[0].shape[1]),
        "feature_dim": str(answer[1].shape[1]),
        **subject.conf,
    }
    if subject.labels:
        conf["model"]["labels"] = "\n".join(["", *subject.labels])
    with path.open("w", encoding="utf-8") as file:
        conf.write(file)


def _read_back(draft: Path, subject: Subject, name: str) -> ModelFolder:
    """As the server reads it: an INI file cannot hold every name and label."""
    try:
        written = read_model_folder(draft)
    except ModelLoadError as error:
        raise ExportError(str(error).replace(f"{draft}{os.sep}", "")) from error
    if not isinstance(written, ModelFolder):
        raise ExportError("model.conf came out without a program")
    if written.conf.name != name:
        raise ExportError(f"{MODEL_CONF} cannot hold the name {name!r}: got {written.conf.name!r}")
    for label, read in zip(subject.labels, written.conf.label_names(), strict=True):
        if label != read:
            raise ExportError(f"{MODEL_CONF} cannot hold the label {label!r}: got {read!r}")
    return written
