"""`euclidesdb model export`: turn a published model into a model folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from euclidesdb_server.export.folder import make_model_folder, refuse_used
from euclidesdb_server.export.sources import ExportOptions, load_subject
from euclidesdb_server.export.subject import ExportError


def run(
    *,
    source: str,
    folder: Path,
    name: str | None,
    program_format: str,
    tower: Literal["image", "text"] | None,
    pooling: Literal["mean", "cls"] | None,
    seed: int | None,
) -> int:
    """Load, write and check; return 1 if that fails, with the reason on stderr.

    name: None: the folder's. program_format: `pt2` or `torchscript`. tower: None, `image` or
    `text`. pooling: None, `mean` or `cls`. seed: of random weights; None: use those published.
    """
    choices = ExportOptions(seed=seed, tower=tower, pooling=pooling)
    try:
        refuse_used(folder)
        subject = load_subject(source, choices)
        conf, difference = make_model_folder(
            folder,
            subject,
            name=name or folder.absolute().name,
            program_format=program_format,
        )
    except ExportError as error:
        print(f"euclidesdb: cannot export {source}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"euclidesdb: cannot write {folder}: {error}", file=sys.stderr)
        return 1
    predictions = f", {conf.prediction_dim} predictions" if conf.prediction_dim else ""
    print(
        f"{folder}: model {conf.name!r}, {conf.feature_dim} features{predictions}; "
        f"its outputs are within {difference:.1g} of those of {source}"
    )
    metric = subject.similarity.metric
    print(
        f"its vectors are compared by {metric}, as the checkpoint does"
        if metric
        else "the checkpoint declares no metric: its vectors are compared by that of the server"
    )
    return 0
