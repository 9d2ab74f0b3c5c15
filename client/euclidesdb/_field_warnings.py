"""Warnings about attributes that a call names, and that no item has."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Final, TypeVar

from euclidesdb._printing import short

T = TypeVar("T")

_PACKAGE: Final = str(Path(__file__).parent)


class UnknownFieldWarning(UserWarning):
    """A filter, an order or a summary names an attribute that no item has. It may be misspelled."""


def warned(reply: T) -> T:
    """A reply, after a warning for each unknown field that it names."""
    message: Any = reply
    for field in message.unknown_fields:
        hint = f"; did you mean {short(field.similar)}?" if field.similar else ""
        text = f"no item has an attribute {short(field.name)}{hint}"
        warnings.warn(text, UnknownFieldWarning, stacklevel=_level_of_caller())
    return reply


def _level_of_caller() -> int:
    """The `stacklevel`, seen from `warned`, of what calls the client."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
