"""The tests that docs/security.md names exist, and every limit and threat has one."""

from __future__ import annotations

import re

from euclidesdb_server.rpc.roles import ROLES
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "security.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    _, _, after = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    section = re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table[2:]]


def test_each_limit_and_each_threat_names_a_test_that_exists():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    tests = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.M)}
    named = [(row[0], re.findall(r"`(test_\w+)`", row[-1])) for row in rows("Limits")]
    assert all(names for _, names in named), named
    threats = [row[-1] for row in rows("Who could do what")]
    assert all("`test_" in cell or cell in ("see there", "the same") for cell in threats)
    written = {name for _, names in named for name in names}
    written |= {name for cell in threats for name in re.findall(r"`(test_\w+)`", cell)}
    assert len(written) > 30
    assert written <= tests, written - tests


def test_the_table_of_roles_is_that_of_the_code():
    written = {
        (cell.strip("`"), name.strip())
        for cell, v1, legacy, _ in rows("Roles")
        for name in f"{v1},{legacy}".split(",")
        if name.strip()
    }
    expected = {
        (str(role), path.rpartition("/")[2])
        for path, role in ROLES.items()
        if not path.startswith("/grpc.")
    }
    assert written == expected
