"""Search engines by name: the entry points of the group `euclidesdb.engines`.

An entry names a class that is a `SearchEngine`, with an attribute `Options` (a frozen
dataclass: the keys of its section in the configuration) and one constructor argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from euclidesdb_server.engines.protocol import SearchEngine
from euclidesdb_server.errors import ConfigError
from euclidesdb_server.settings import parse_section

GROUP = "euclidesdb.engines"


def engine_names() -> list[str]:
    """The names of the search engines that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def create_engine(name: str, section: Mapping[str, str], *, file: Path | None) -> SearchEngine:
    """The engine `name`, configured by its section of `file`. Raises ConfigError."""
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        raise ConfigError(
            f"{file or 'options'}: [server] search_engine = {name!r} is none of "
            + ", ".join(sorted(entries))
        )
    engine = _load(entries[name])
    options = parse_section(engine.Options, section, file=file, name=name)  # type: ignore[attr-defined]  # see the module
    return engine(options)  # type: ignore[call-arg]  # see the module


def _load(entry: EntryPoint) -> type[SearchEngine]:
    try:
        return cast(type[SearchEngine], entry.load())
    except ImportError as error:
        raise ConfigError(
            f"search engine {entry.name!r} cannot be imported ({error}); the engines shipped "
            "here come with: pip install 'euclidesdb[server]'"
        ) from error
