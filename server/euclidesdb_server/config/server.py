"""The server's configuration: every key of EuclidesDB's INI file, and the keys that we add.

One frozen dataclass per section. An unknown section or key, or a malformed value, raises a
ConfigError that names file, section and key. Sections of search engines are passed on unparsed:
each engine declares its own keys (`engines/registry.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from euclidesdb_server.config.access import AuthConfig, TlsConfig
from euclidesdb_server.config.ini import parse_section, read_ini
from euclidesdb_server.config.paths import given_address, resolved
from euclidesdb_server.config.watching import LogFormat, MetricsConfig, TracingConfig
from euclidesdb_server.errors import ConfigError

KIB = 1 << 10
MIB = 1 << 20


class Transport(StrEnum):
    """What speaks gRPC with clients."""

    AUTO = "auto"
    """nghttp2 if it is installed."""
    NGHTTP2 = "nghttp2"
    GRPCIO = "grpcio"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Section [server]; EuclidesDB's keys come first."""

    address: str = "127.0.0.1:50000"
    log_file_path: Path | None = None
    search_engine: str = "annoy"
    allow_remote_shutdown: bool | None = None
    """Whether `Shutdown` may stop the server or refresh the index; None: it may always refresh, and
    stop only on a loopback address."""
    transport: Transport = Transport.AUTO
    threads: Annotated[int, Ge(2)] = 80
    """The number of calls served concurrently. Those that wait for a model need no thread."""
    max_calls: Annotated[int, Ge(1)] = 10_000
    """The number of calls that may be served or wait for a model at a time."""
    max_calls_per_client: Annotated[int, Ge(1)] = 5000
    """As `max_calls`, of one client: those with the same API key, or without one from the same
    address."""
    max_streams: Annotated[int, Ge(1)] = 1000
    """The number of streaming calls that may be open at a time, idle ones included; they do not
    count as `max_calls`."""
    max_streams_per_client: Annotated[int, Ge(1)] = 500
    """As `max_streams`, of one client."""
    max_connections: Annotated[int, Ge(1)] = 10_000
    """The number of connections, with nghttp2; fewer if the limit of open files demands it."""
    max_message_bytes: Annotated[int, Ge(1024), Le((1 << 31) - 1)] = 64 * MIB
    max_bytes_in_flight: Annotated[int, Ge(1024)] = 512 * MIB
    """The size of all requests being served, with nghttp2 also of those still arriving. Large
    replies of reads are refused if clients have yet to read as much of others."""
    message_timeout: Annotated[float, Gt(0)] = 30.0
    """Seconds in which the message of a call must arrive; with nghttp2 also those in which a client
    must take something of each reply, and 64 KiB on its connection."""
    max_top_k: Annotated[int, Ge(1)] = 1000
    max_comparisons: Annotated[int, Ge(1)] = 1_000_000_000_000
    """The most comparisons of a query with a row in one search call."""
    max_attributes_bytes: Annotated[int, Ge(2)] = 64 * KIB
    """The most bytes of an item's attributes, as JSON; items stored before may have more."""
    max_metadata_bytes: Annotated[int, Ge(0)] = MIB
    """The most bytes of an item's metadata; items stored before may have more."""
    max_reply_bytes: Annotated[int, Ge(1024), Le(1 << 30)] = 64 * MIB
    """The most bytes in one reply: of ids and all that is returned with them to a search; of
    vectors, predictions and payloads to an add or a get."""
    allow_model_changes: bool | None = None
    """Whether calls may load, unload and drop models; None: only on a loopback address."""
    allow_backups: bool | None = None
    """Whether calls may back the server up, with the programs of its models; None: on a loopback
    address, and with API keys."""
    shutdown_grace: Annotated[float, Ge(0)] = 30.0
    """Seconds that calls in progress have to finish when the server stops."""
    log_format: LogFormat = LogFormat.AUTO
    log_max_mib: Annotated[int, Ge(0)] = 100
    """The size at which the log file is renamed and another one begun; 0: never."""
    log_files: Annotated[int, Ge(1)] = 5
    """The number of renamed log files that are kept."""
    slow_call_ms: Annotated[float, Ge(0)] = 1000.0
    """A call that takes so many milliseconds is logged with its parts; 0: none is."""
    health: bool = True
    """Whether the service `grpc.health.v1.Health` is there."""
    reflection: bool = True
    """Whether clients can ask for the services and their messages."""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Section [models]."""

    dir_path: Path
    names: str = ""
    """The folders to serve, separated by commas; empty: every folder in dir_path."""
    max_image_pixels: Annotated[int, Ge(1)] = 64_000_000
    """Larger images are refused before they are decoded."""
    worker_threads: Annotated[int, Ge(0)] = 0
    """Threads of a forward pass that takes more than 2 ms; 0: the number of cores divided by that
    of workers, at least 1."""
    confine_workers: bool = True
    """False: workers keep sockets, and so the network; for a GPU that is shared by a service."""
    cache_mib: Annotated[int, Ge(0)] = 64
    """Memory for recent model outputs, so that repeated payloads are not run again; 0: no cache."""
    start_timeout: Annotated[float, Gt(0)] = 120.0
    """Seconds that a worker has to load its model and pass the load check, once it has its turn."""


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Section [database]."""

    db_path: Path
    sync: bool = True
    """False: a crash of the machine, but not of the server, may lose acknowledged writes."""
    keep_payloads: bool = True
    """False: raw items are not stored, so a later model cannot embed them."""
    write_buffer_kib: Annotated[int, Ge(64), Le(1 << 20)] = 16384
    """Memory for recent writes, which LevelDB keeps in a log until it is full."""


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Section [index]: when and how unindexed rows are built into a segment."""

    compact_rows: Annotated[int, Ge(1)] = 10_000
    """The number of unindexed rows that are built into a segment."""
    merge_factor: Annotated[int, Ge(2)] = 10
    """The number of segments of about the same size that are merged into one."""
    max_deleted_share: Annotated[float, Gt(0), Le(1)] = 0.2
    """A segment in which a larger share of the rows is deleted is built again without them."""
    idle_seconds: Annotated[float, Ge(0)] = 60.0
    """Seconds without a write after which all segments of a space are merged into one."""
    build_threads: Annotated[int, Ge(1)] = 1
    """The number of threads, at low priority, that build a segment."""
    build_timeout: Annotated[float, Ge(0)] = 0.0
    """Seconds after which a build counts as hung; 0: ten minutes, and a day for each 10 million
    rows of 128 numbers."""
    build_memory_mib: Annotated[int, Ge(0)] = 0
    """Private memory of a build process, in MiB, beyond which allocations fail; 0: no limit."""
    recall_interval: Annotated[float, Ge(0)] = 10.0
    """Least seconds between queries that are also answered exactly, to measure recall; 0: never."""

    def build_seconds(self, rows: int, dim: int) -> float:
        """How long a build of so many rows of `dim` numbers may take."""
        day = 24 * 3600.0
        return self.build_timeout or 600.0 + day * rows * max(1.0, dim / 128) / 10_000_000


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    engines: the unparsed section of each search engine that has one. options: the values given on
    the command line, the option by section and key.
    """

    models: ModelsConfig
    database: DatabaseConfig
    server: ServerConfig = field(default_factory=ServerConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    tracing: TracingConfig = field(default_factory=TracingConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    engines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    file: Path | None = None
    options: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def search_settings(self) -> dict[str, str]:
        """What decides on how searches are answered, by "[section] key", as text."""
        found = {"[server] search_engine": self.server.search_engine}
        for name, section in self.engines.items():
            found |= {f"[{name}] {key}": value for key, value in section.items()}
        return found

    def where(self, section: str, key: str) -> str:
        """Where a value comes from, for messages: an option, or the file, the section and key."""
        place = f"[{section}] {key}"
        return self.options.get((section, key)) or (
            place if self.file is None else f"{self.file}: {place}"
        )


SECTIONS: dict[str, type[Any]] = {
    "server": ServerConfig,
    "models": ModelsConfig,
    "database": DatabaseConfig,
    "index": IndexConfig,
    "metrics": MetricsConfig,
    "tracing": TracingConfig,
    "auth": AuthConfig,
    "tls": TlsConfig,
}


def load_config(file: Path, engine_names: Collection[str]) -> Config:
    """Read a configuration file.

    engine_names: the installed search engines; each may have a section of its name.

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
    server: ServerConfig = parsed["server"]
    try:
        address = given_address(server.address, file.parent)
    except ConfigError as error:
        raise ConfigError(f"{file}: [server] address = {error}") from error
    parsed["server"] = dataclasses.replace(server, address=address)
    engines = {name: sections[name] for name in sections if name in engine_names}
    return Config(**parsed, engines=engines, file=file)


def default_config(*, models: Path, names: str, data: Path) -> Config:
    """The configuration without a file: exact search, on the loopback address."""
    return Config(
        models=ModelsConfig(dir_path=models, names=names),
        database=DatabaseConfig(db_path=data),
        server=ServerConfig(search_engine="exact"),
    )


def override(
    config: Config,
    *,
    address: str | None,
    data: Path | None,
    models: Path | None,
    allow_anonymous: bool = False,
) -> Config:
    """`config` with the values given on the command line. Raises ConfigError."""
    given = {
        ("server", "address"): (address, "--address"),
        ("models", "dir_path"): (models, "--models"),
    }
    options = {place: option for place, (value, option) in given.items() if value is not None}
    config = dataclasses.replace(config, options=options)
    if address is not None:
        try:
            address = given_address(address)
        except ConfigError as error:
            raise ConfigError(f"--address = {error}") from error
        config = dataclasses.replace(
            config, server=dataclasses.replace(config.server, address=address)
        )
    if data is not None:
        config = dataclasses.replace(
            config, database=dataclasses.replace(config.database, db_path=resolved(data))
        )
    if allow_anonymous:
        auth = dataclasses.replace(config.auth, allow_anonymous=True)
        config = dataclasses.replace(config, auth=auth)
    if models is not None:
        config = dataclasses.replace(
            config, models=dataclasses.replace(config.models, dir_path=resolved(models), names="")
        )
    return config
