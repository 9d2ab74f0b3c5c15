"""Search engines by name: the entry points of the group `euclidesdb.engines`.

An entry point names a class that is a `SearchEngine`, with an attribute `Options` (a frozen
dataclass: the keys of its section in the configuration) and a constructor that takes one of these.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, cast

from euclidesdb_server.config.ini import parse_section
from euclidesdb_server.engines.protocol import SearchEngine
from euclidesdb_server.engines.trials import Case, EngineTrials
from euclidesdb_server.errors import ConfigError

GROUP = "euclidesdb.engines"

_USUAL_LENGTHS: Final = (64, 960)
"""Numbers with many divisors: an index that works for some vectors mostly works for these."""

log = logging.getLogger(__name__)


class Engines:
    """The search engines as configured.

    name: of the default engine. sections: by engine, its section of the configuration `file`.
    """

    def __init__(
        self,
        name: str = "exact",
        sections: Mapping[str, Mapping[str, str]] | None = None,
        file: Path | None = None,
        trials: EngineTrials | None = None,
    ) -> None:
        """Raises ConfigError, also for sections of engines that are not in use."""
        self._name = name
        self._sections = sections or {}
        self._file = file
        self._trials = trials or EngineTrials()
        self.default = create_engine(name, self._sections.get(name, {}), file=file)
        for other, section in self._sections.items():
            create_engine(other, section, file=file)

    def for_dim(self, dim: int) -> SearchEngine:
        """The default engine, or `exact` if that cannot work with vectors of this length.

        For spaces without a model.conf that could choose another engine.
        """
        refusal = self.refusals([Case(self.default, dim)])[0]
        if refusal is None:
            return self.default
        log.warning("vectors of length %d are searched exactly: %s", dim, refusal)
        return create_engine("exact", {}, file=None)

    def of_model(
        self, name: str, sections: Mapping[str, Mapping[str, str]], file: Path
    ) -> SearchEngine:
        """The engine of a model whose model.conf is `file`; `refusals` tells whether it works.

        name: of the engine; empty: the default. sections: of the model.conf, by engine; they take
            precedence over the sections of the server's configuration.

        Raises ConfigError.
        """
        known = engine_names()
        if name and name not in known:
            raise ConfigError(
                f"{file}: [model] search_engine = {name!r} is not one of {', '.join(known)}"
            )
        for section in sections:
            if section not in known:
                raise ConfigError(
                    f"{file} has an unknown section [{section}]; the sections are [model], "
                    + ", ".join(f"[{other}]" for other in known)
                )
            create_engine(section, sections[section], file=file)  # validates the section
        name = name or self._name
        if not sections and name == self._name:
            return self.default
        merged = {**self._sections.get(name, {}), **sections.get(name, {})}
        return create_engine(name, merged, file=file)

    def refusals(self, cases: Sequence[Case]) -> list[str | None]:
        """For each case, why its engine cannot index such vectors; None: it can.

        Engines that build an index are tried in a child process, all of them in the same one.
        Raises ConfigError if the default engine works neither for any of the cases nor for
        vectors of usual lengths: then not the cases are wrong, but the configuration of the server.
        """
        reasons = self._trials.refusals(cases)
        outcomes = [
            reason
            for case, reason in zip(cases, reasons, strict=True)
            if case.engine is self.default
        ]
        if outcomes and None not in outcomes:
            usual = [Case(self.default, dim) for dim in _USUAL_LENGTHS]
            if None not in self._trials.refusals(usual):
                raise ConfigError(f"{self._file or 'options'}: {outcomes[0]}")
        return [
            f"{self._file or 'options'}: {reason}" if reason and case.engine is self.default
            else reason
            for case, reason in zip(cases, reasons, strict=True)
        ]  # fmt: skip


def engine_names() -> list[str]:
    """The names of the search engines that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def create_engine(name: str, section: Mapping[str, str], *, file: Path | None) -> SearchEngine:
    """The engine `name`, configured by its section of `file`. Raises ConfigError."""
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        raise ConfigError(
            f"{file or 'options'}: [server] search_engine = {name!r} is not one of "
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
