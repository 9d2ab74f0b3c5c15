"""Fingerprints: the name of a model version, made from everything that decides on its vectors.

Every stored vector is bound to the fingerprint of the model that made it. So the same files and
the same preprocessing must give the same fingerprint in every release: otherwise all vectors
would be left behind in the space of another version.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_conf import ProgramConf, VectorsConf
from euclidesdb_server.values.stop import CheckStop, never_stop

HEX_DIGITS: Final = 32
READ_BYTES: Final = 1 << 20


def program_fingerprint(
    conf: ProgramConf, program: Path, check_stop: CheckStop = never_stop
) -> str:
    """The fingerprint of a program file and of its preprocessing.

    Raises ModelLoadError if the program, or a file that belongs to the preprocessing, cannot be
    read; the message begins with the key that names the file. Raises what `check_stop` raises.
    """
    digest = hashlib.sha256(_json(conf.preprocessing()))
    try:
        content = hashlib.sha256()
        with program.open("rb") as stream:
            while piece := stream.read(READ_BYTES):
                check_stop()
                content.update(piece)
        digest.update(content.digest())
    except OSError as error:
        raise ModelLoadError(f"filename: cannot read {program}: {error}") from error
    return digest.hexdigest()[:HEX_DIGITS]


def vectors_fingerprint(conf: VectorsConf) -> str:
    """The fingerprint of a space of ready-made vectors."""
    values = {"input": conf.input, "feature_dim": conf.feature_dim, "version": conf.version}
    return hashlib.sha256(_json(values)).hexdigest()[:HEX_DIGITS]


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True).encode()
