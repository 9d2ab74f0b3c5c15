"""Every sample in the README and the guides is tried: run, or at least read, none is left out."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

from euclidesdb_server.__main__ import main
from euclidesdb_server.commands.command_line import command_line
from tests.project.test_documentation import API, CLIENT, PAGES, README, ROOT, commands
from tests.support.cases import each_as_subtest
from tests.support.images import noise
from tests.support.servers import start_server

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHELL_LINE = re.compile(r"^    (euclidesdb .*?)(?:  +#.*)?$", re.MULTILINE)
MOVING = ROOT / "docs" / "moving-from-euclidesdb.md"
RUN_BY_TESTS = {README: 1, CLIENT: 6, API: 1, MOVING: 2}
"""How many blocks of Python `test_documentation.py` and `test_moving.py` run, by page."""
NOT_RUN = ("euclidesdb serve", "euclidesdb model", "euclidesdb models")
"""Commands of the README that are tested elsewhere, or on a model that readers make."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def shell_lines(page: Path) -> list[str]:
    """The commands in the indented blocks of a page."""
    return SHELL_LINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


@each_as_subtest("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_has_a_language_that_is_tested(page):
    languages = [language for language, _ in blocks(page)]
    others = {"ini", "sh", "yaml", "{toctree}"}  # of other tests, of other programs, of the site
    assert {*languages} <= {"python", "python no-run", *others}
    assert languages.count("python") == RUN_BY_TESTS.get(page, 0)


@each_as_subtest("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_samples_that_are_not_run_are_python(page):
    for language, text in blocks(page):
        if language == "python no-run":
            ast.parse(text)


@each_as_subtest("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_samples_have_the_options_that_they_use(page):
    known = dict(commands(command_line()))
    for line in shell_lines(page):
        words = shlex.split(line)[1:]
        if words[0].isupper() or words[0].startswith("-"):
            continue
        name = words[0] if words[0] in known else " ".join(words[:2])
        assert name in known, line
        options = {option for each in known[name].params for option in each.opts} | {"--help"}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= options, line


def test_the_commands_of_the_readme_run(tmp_path, monkeypatch):
    """In their order, as a reader runs them who has a folder of photos."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(12):
        noise(number, 32).save(f"photos/{number}.jpg")
    noise(3, 32).save("x.jpg")
    lines = [line for line in shell_lines(README) if not line.startswith(NOT_RUN)]
    assert len(lines) >= 4
    models = ROOT / "models"
    config = {"names": "digits"}
    with start_server(tmp_path / "data", models, models_config=config) as server:
        monkeypatch.setenv("EUCLIDESDB_ADDRESS", server.address)
        for line in lines:
            assert main(shlex.split(line)[1:]) == 0, line
    assert Path("out.png").is_file()
