"""The error that a call should end with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def error_message(
    kind: type[Exception], call: Callable[..., object], *arguments: Any, **options: Any
) -> str:
    """The message of the error that the call raises; the test fails unless it is of that kind."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return str(caught.value)
