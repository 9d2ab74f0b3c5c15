"""Warnings about attributes that a call names, and that no item has."""

from __future__ import annotations

import warnings
from typing import Any, Final, TypeVar

from euclidesdb._printing import short

T = TypeVar("T")

STACK: Final = 4
"""From here to the caller of the client's method, in most calls."""


class UnknownFieldWarning(UserWarning):
    """A filter, an order or a summary names an attribute that no item has. It may be misspelled."""


def warned(reply: T) -> T:
    """A reply, after a warning for each unknown field that it names."""
    message: Any = reply
    for field in message.unknown_fields:
        hint = f"; did you mean {short(field.similar)}?" if field.similar else ""
        text = f"no item has an attribute {short(field.name)}{hint}"
        warnings.warn(text, UnknownFieldWarning, stacklevel=STACK)
    return reply
