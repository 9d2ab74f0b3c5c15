"""An engine as JSON, so that a child process can create the same one."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.engines.protocol import SearchEngine

_PLAIN: Final = (str, int, float, type(None))


def reference(engine: SearchEngine) -> dict[str, Any]:
    """Its class, by module and name, and its options as JSON values."""
    kind = type(engine)
    options = {
        field.name: getattr(engine.options, field.name)
        for field in dataclasses.fields(engine.options)
        if field.init
    }
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "options": {
            key: str(value) if isinstance(value, Path) else value for key, value in options.items()
        },
        "plain": all(isinstance(value, _PLAIN) for value in options.values()),
    }


def referenced(reference: dict[str, Any]) -> SearchEngine:
    """The engine that `reference` was made of. Raises ImportError, ConfigError."""
    module, _, name = reference["class"].partition(":")
    kind: Any = import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    if reference["plain"]:
        options = kind.Options(**reference["options"])
    else:  # the import takes 7 MiB and 50 ms
        from euclidesdb_server.config.ini import parse_section  # noqa: PLC0415

        options = parse_section(kind.Options, reference["options"], file=None, name=kind.name)
    engine: SearchEngine = kind(options)
    return engine


def described(engine: SearchEngine) -> str:
    """Section, keys and values of the options that differ from the defaults."""
    changed = [
        f"{field.name} = {value!r}"
        for field in dataclasses.fields(engine.options)
        if (value := getattr(engine.options, field.name)) != field.default
    ]
    return f"[{engine.name}] {', '.join(changed)}".rstrip()


def refused(engine: SearchEngine, dim: int, reason: str) -> str:
    """The message for options that failed a trial."""
    return (
        f"{described(engine)} cannot be used for vectors of {dim}: a trial build of random rows "
        f"failed: {reason}"
    )
