"""The numbers of a server as short texts and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import euclidesdb

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(length: float) -> str:
    """Seconds as "3 d 4 h": the two largest units."""
    left = int(length)
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def seconds(value: float | None) -> str:
    """A short time, as "1.2 ms"; "-" for None."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def stats_object(numbers: euclidesdb.ServerStats) -> dict[str, Any]:
    """All numbers, as JSON values."""
    return asdict(numbers)
