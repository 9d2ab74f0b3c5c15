"""`euclidesdb model export`: turn a published model into a model folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from euclidesdb_server.export.folder import make_model_folder, refuse_used
from euclidesdb_server.export.sources import ExportOptions, load_subject
from euclidesdb_server.export.subject import ExportError


def run(options: argparse.Namespace) -> int:
    """Load, write and check; return 1 if that fails, with the reason on stderr.

    options: source, folder (Path), name (None: the folder's), random, seed, format (`pt2` or
    `torchscript`), tower (None, `image` or `text`), pooling (None, `mean` or `cls`).
    """
    source: str = options.source
    folder: Path = options.folder
    choices = ExportOptions(
        seed=options.seed if options.random else None,
        tower=options.tower,
        pooling=options.pooling,
    )
    try:
        refuse_used(folder)
        subject = load_subject(source, choices)
        conf, difference = make_model_folder(
            folder,
            subject,
            name=options.name or folder.absolute().name,
            program_format=options.format,
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
