"""The server's configuration: EuclidesDB's INI file, every key of it, and ours beside them.

One frozen dataclass per section. An unknown section or key, or a malformed value, is a
ConfigError that names file, section and key. Sections of search engines are handed on as
they are: each engine knows its own keys (`engines/registry.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from euclidesdb_server.config.ini import parse_section, read_ini
from euclidesdb_server.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Section [server]. EuclidesDB's keys first."""

    address: str = "127.0.0.1:50000"
    log_file_path: Path | None = None
    search_engine: str = "annoy"
    allow_remote_shutdown: bool | None = None
    """None: `Shutdown` may always refresh, and stop the server only on a loopback address."""
    threads: Annotated[int, Ge(2)] = 80
    """Calls served at once; a waiting call holds a thread."""
    max_message_bytes: Annotated[int, Ge(1024), Le((1 << 31) - 1)] = 64 * MIB
    max_top_k: Annotated[int, Ge(1)] = 1000
    allow_model_changes: bool | None = None
    """Whether calls may load and unload models; None: on a loopback address only."""
    shutdown_grace: Annotated[float, Ge(0)] = 30.0
    """Seconds that running calls get to finish when the server stops."""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Section [models]."""

    dir_path: Path
    names: str = ""
    """Folders to serve, separated by commas; empty: every folder in dir_path."""
    max_image_pixels: Annotated[int, Ge(1)] = 64_000_000
    """A larger image is refused before it is decoded."""
    worker_threads: Annotated[int, Ge(0)] = 0
    """Threads of a forward pass; 0: the cores divided by the workers of all models, at least 1."""
    cache_mib: Annotated[int, Ge(0)] = 64
    """Memory for what models said last, so that the same bytes are not run again; 0: none."""
    start_timeout: Annotated[float, Gt(0)] = 120.0
    """Seconds in which a worker must load its model and pass the load check."""


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Section [database]."""

    db_path: Path
    sync: bool = True
    """False: an acknowledged write can be lost by a crash of the machine (not of the server)."""
    keep_payloads: bool = True
    """False: raw items are not stored, so a better model cannot re-embed them later."""


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Section [index] (ours): when and how fresh rows are built into a segment."""

    compact_rows: Annotated[int, Ge(1)] = 10_000
    """Never with fewer fresh and deleted rows than this."""
    compact_share: Annotated[float, Gt(0), Le(1)] = 0.1
    """Nor before they exceed this share of the segment."""
    build_threads: Annotated[int, Ge(1)] = 1
    """Threads that build a segment, at low priority."""
    recall_interval: Annotated[float, Ge(0)] = 10.0
    """Seconds between two queries of a space that are answered exactly, too; 0: none."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `engines`: the raw section of each search engine that has one."""

    models: ModelsConfig
    database: DatabaseConfig
    server: ServerConfig = field(default_factory=ServerConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    engines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    file: Path | None = None


SECTIONS: dict[str, type[Any]] = {
    "server": ServerConfig,
    "models": ModelsConfig,
    "database": DatabaseConfig,
    "index": IndexConfig,
}


def load_config(file: Path, engine_names: Collection[str]) -> Config:
    """Read a configuration file.

    engine_names: the search engines there are; each may have a section of its name.

    Raises ConfigError.
    """
    sections = read_ini(file)
    for name in sections:
        if name not in SECTIONS and name not in engine_names:
            known = ", ".join([*SECTIONS, *sorted(engine_names)])
            raise ConfigError(f"{file} has an unknown section [{name}]; the sections are {known}")
    parsed: dict[str, Any] = {
        name: parse_section(kind, sections.get(name, {}), file=file, name=name)
        for name, kind in SECTIONS.items()
    }
    engines = {name: sections[name] for name in sections if name in engine_names}
    return Config(**parsed, engines=engines, file=file)


def default_config(*, models: Path, names: str, data: Path) -> Config:
    """What is served without a configuration file: exact search on the loopback address."""
    return Config(
        models=ModelsConfig(dir_path=models, names=names),
        database=DatabaseConfig(db_path=data),
        server=ServerConfig(search_engine="exact"),
    )


def override(
    config: Config, *, address: str | None, data: Path | None, models: Path | None
) -> Config:
    """`config` with the values given on the command line."""
    if address is not None:
        config = dataclasses.replace(
            config, server=dataclasses.replace(config.server, address=address)
        )
    if data is not None:
        config = dataclasses.replace(
            config, database=dataclasses.replace(config.database, db_path=data.resolve())
        )
    if models is not None:
        config = dataclasses.replace(
            config, models=dataclasses.replace(config.models, dir_path=models.resolve(), names="")
        )
    return config
