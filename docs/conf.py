"""The documentation site: Sphinx, from the same Markdown files that GitHub shows.

Its source folder is the top folder of the repository, so that a relative link means the same file
in both places. `make docs` builds it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

project = "EuclidesDB for Python"
release = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release

extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4

root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "models/*/README.md",
    "server/euclidesdb_server/store/FORMAT.md",
]
exclude_patterns = [".*", "build", "dist", "**/__pycache__"]

html_theme = "furo"
html_title = f"EuclidesDB for Python {release}"
html_copy_source = False
html_show_copyright = False
templates_path = ["_templates"]
html_additional_pages = {"index": "start.html"}
