"""An engine as JSON, so that a child process can create the same one."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

from euclidesdb_server.config.ini import parse_section
from euclidesdb_server.engines.protocol import SearchEngine


def reference(engine: SearchEngine) -> dict[str, Any]:
    """Its class, by module and name, and its options as JSON values."""
    kind = type(engine)
    options = {
        field.name: _json(getattr(engine.options, field.name))
        for field in dataclasses.fields(engine.options)
        if field.init
    }
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "options": options}


def referenced(reference: dict[str, Any]) -> SearchEngine:
    """The engine that `reference` was made of. Raises ImportError, ConfigError."""
    module, _, name = reference["class"].partition(":")
    kind: Any = import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    options = parse_section(kind.Options, reference["options"], file=None, name=kind.name)
    engine: SearchEngine = kind(options)
    return engine


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
