"""Rules of the tree that neither ruff nor mypy checks: sizes, docstrings, whitespace, paths."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.project.tree import ROOT, project_files, written_texts

MAX_MODULE_LINES = 300
MAX_FILE_BYTES = 1 << 20
MIN_SENTENCES = 3
"""A package says what it is for, what it promises, and what it does not know."""

# Folders of tests/ that do not mirror a package of the server.
OTHER_TESTS = {"client", "contract", "project", "proofs", "support"}

# Home and work folders of a person or a machine.
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:home|Users|root|work|mnt)/\w")


def packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [
        name
        for name in project["tool"]["setuptools"]["packages"]
        if name.startswith("euclidesdb_server.")
    ]


def test_no_module_is_longer_than_300_lines():
    lengths = {
        path.as_posix(): len(text.splitlines())
        for path, text in written_texts().items()
        if path.suffix == ".py" and path.parts[0] in ("client", "server")
    }
    long = {path: length for path, length in lengths.items() if length > MAX_MODULE_LINES}
    assert not long


def test_every_package_of_the_server_has_a_docstring_of_three_sentences():
    short = {}
    for name in packages():
        file = ROOT / "server" / name.replace(".", "/") / "__init__.py"
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        sentences = re.findall(r"[.!?](?=\s|$)", docstring)
        if len(sentences) < MIN_SENTENCES:
            short[name] = docstring
    assert not short


def test_the_tests_mirror_the_packages_of_the_server():
    mirrored = {name.split(".")[1] for name in packages()}
    folders = {path.parts[1] for path in project_files() if path.match("tests/*/**/*.py")}
    assert folders <= mirrored | OTHER_TESTS


def test_every_package_of_the_tests_can_be_imported():
    folders = {path.parent for path in project_files() if path.match("tests/**/*.py")}
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()]


def test_no_file_is_larger_than_1_mib():
    sizes = {path.as_posix(): (ROOT / path).stat().st_size for path in project_files()}
    assert not {path: size for path, size in sizes.items() if size > MAX_FILE_BYTES}


def test_text_files_have_clean_whitespace():
    untidy = []
    for path, text in written_texts().items():
        if text and not text.endswith("\n"):
            untidy.append(f"{path}: does not end with a newline")
        if text.endswith("\n\n"):
            untidy.append(f"{path}: ends with empty lines")
        for number, line in enumerate(text.split("\n"), start=1):
            if line != line.rstrip():
                untidy.append(f"{path}:{number}: whitespace at the end of the line")
            if "\t" in line and path.name != "Makefile":
                untidy.append(f"{path}:{number}: a tab")
    assert not untidy, "\n".join(untidy)


def test_no_file_names_a_folder_of_a_developers_machine():
    named = [
        f"{path}:{number}: {line.strip()}"
        for path, text in written_texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert not named, "\n".join(named)
