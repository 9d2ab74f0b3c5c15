"""How work that takes long finds out that the server is to stop: it calls a `CheckStop` often.

Signals only set an event, so a start ends within a second or two if each of its long parts does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

CheckStop: TypeAlias = Callable[[], None]
"""Raises ShuttingDown once the server is to stop. Cheap enough to be called for every record."""


def never_stop() -> None:
    """The `CheckStop` of work that is not to be interrupted."""
