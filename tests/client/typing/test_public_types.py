"""The client's types reach a user of the installed package."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
STRICT = ["--strict", "--no-incremental", "--config-file="]


def test_mypy_finds_the_types_of_the_public_api_in_the_installed_package(tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "client" / "euclidesdb", site / "euclidesdb")
    shutil.copytree(ROOT / "protos" / "euclidesdb_protos", site / "euclidesdb_protos")
    (site / "numpy.pth").write_text(str(Path(np.__file__).parents[1]))
    program = shutil.copy(Path(__file__).with_name("usage.py"), tmp_path)
    python = ["--python-executable", str(tmp_path / "venv" / "bin" / "python")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *STRICT, *python, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
