"""The times that strings stand for: a subset of ISO 8601, about that of RFC 3339.

- a date, which stands for its first moment in UTC: `2024-05-01`
- a date, `T` or a space, and a time of minutes, seconds or fractions of a second, in UTC:
  `2024-05-01T10:30`, `2024-05-01 10:30:05.25`
- the same with a zone, `Z`, `+02`, `+0200` or `+02:00`: `2024-05-01T10:30+02:00`

Fractions have up to nine digits, of which those after the sixth are ignored. Years are those from
0001 to 9999. No other string is a time: dates that do not exist, leap seconds, the 24th hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

_DAY_AND_MONTH: Final = (
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
_LEAP_YEAR: Final = r"[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00"
_YEAR: Final = r"[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9]"
_DATE: Final = rf"(?:(?:{_YEAR})-(?:{_DAY_AND_MONTH})|(?:{_LEAP_YEAR})-02-29)"
_HOUR: Final = "(?:[01][0-9]|2[0-3])"
_TIME: Final = rf"[T ]{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{{1,9}})?)?"
# Arrow fails to convert an array if it cannot convert one of its strings, so these patterns are
# exact: they match what it converts.
_LOCAL: Final = rf"^{_DATE}(?:{_TIME})?$"
_ZONED: Final = rf"^{_DATE}{_TIME}(?:Z|[+-]{_HOUR}(?::?[0-5][0-9])?)$"
_LONG_FRACTION: Final = r"(\.[0-9]{6})[0-9]+"


def microseconds(time: datetime) -> int:
    """The time in microseconds since 1970 began in UTC. time: with a zone."""
    return (time - EPOCH) // MICROSECOND


def times_in(strings: pa.StringArray) -> pa.Int64Array:
    """The times of strings, as `microseconds`; null for those that are not times."""
    local = _converted(strings, _LOCAL, pa.timestamp("us"))
    if local.null_count == strings.null_count:
        return local
    return pc.coalesce(local, _converted(strings, _ZONED, pa.timestamp("us", "UTC")))


def _converted(strings: pa.StringArray, pattern: str, kind: pa.DataType) -> pa.Int64Array:
    times = pc.if_else(pc.match_substring_regex(strings, pattern), strings, None)
    if times.null_count == len(times):
        return pa.nulls(len(times), pa.int64())
    # Arrow converts no more digits than it keeps
    return pc.replace_substring_regex(times, _LONG_FRACTION, r"\1").cast(kind).cast(pa.int64())
