"""Modules whose import takes seconds: only a process that uses one needs to wait for it.

Every process that runs tests imports all test modules, but runs only some of the tests.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LateImport:
    """Stands for a module, which is imported when one of its names is first used."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks for marks and fixtures in whatever a module has
            raise AttributeError(name)
        return getattr(import_module(self._module), name)
