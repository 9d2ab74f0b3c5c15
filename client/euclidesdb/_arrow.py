"""pyarrow, which is not needed by the rest of the client, and is imported when it is."""

from __future__ import annotations

import importlib
from typing import Any


def pyarrow(part: str = "", purpose: str = "exports and Arrow files") -> Any:
    """The module `pyarrow`, or one in it. Raises ImportError that says what to install."""
    return optional("pyarrow" + (f".{part}" if part else ""), "pyarrow", purpose)


def optional(module: str, package: str, purpose: str) -> Any:
    """A module that the client does not depend on."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} need {package}, which is not installed: `pip install {package}`"
        ) from error
