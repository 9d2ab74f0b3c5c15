"""ValueTest: what a condition demands of a value, for arrays of each type.

Values of different types differ, and only values of one type have an order. An int and a float are
both numbers, and are compared as exactly as Python compares them, although Arrow would round the
int: the bound of a comparison with an array of the other type is moved to the next number that
this type has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.iso_times import microseconds
from euclidesdb_server.values.filters import Operator, Scalar

ArrayTest: TypeAlias = Callable[[pa.Array], pa.BooleanArray]
"""Whether each value of an array meets a condition; null or false for null."""

MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1

_KERNELS: Final[dict[Operator, Callable[..., pa.BooleanArray]]] = {
    Operator.EQUAL: pc.equal,
    Operator.LESS: pc.less,
    Operator.LESS_OR_EQUAL: pc.less_equal,
    Operator.GREATER: pc.greater,
    Operator.GREATER_OR_EQUAL: pc.greater_equal,
}
_UPPER_BOUNDS: Final = (Operator.LESS, Operator.LESS_OR_EQUAL)


@dataclass(frozen=True, slots=True)
class ValueTest:
    """The test of values of each type; None: no value of that type meets the condition.

    times: of strings that are times, as `iso_times.times_in` gives them.
    """

    ints: ArrayTest | None = None
    floats: ArrayTest | None = None
    strings: ArrayTest | None = None
    bools: ArrayTest | None = None
    times: ArrayTest | None = None


def comparison(operator: Operator, value: Scalar) -> ValueTest:
    """Whether a value has the type of `value`, and the comparison with it is true.

    Booleans have no order.
    """
    match value:
        case bool():
            equal = operator is Operator.EQUAL
            return ValueTest(bools=_compare(operator, value, pa.bool_()) if equal else None)
        case int() | float():
            return ValueTest(ints=_ints(operator, value), floats=_floats(operator, value))
        case str():
            return ValueTest(strings=_compare(operator, value, pa.string()))
        case datetime():
            return ValueTest(times=_compare(operator, microseconds(value), pa.int64()))


def one_of(values: Iterable[Scalar]) -> ValueTest:
    """Whether a value is equal to one of these."""
    of_type: dict[type, set[Any]] = {kind: set() for kind in (bool, int, float, str, datetime)}
    for value in values:
        of_type[type(value)].add(value)
    ints, floats = of_type[int], of_type[float]
    equal_ints = {int(number) for number in floats if number.is_integer()}
    equal_floats = {float(number) for number in ints if float(number) == number}
    return ValueTest(
        ints=_is_in(ints | {number for number in equal_ints if _is_int64(number)}, pa.int64()),
        floats=_is_in(_with_both_zeros(floats | equal_floats), pa.float64()),
        strings=_is_in(of_type[str], pa.string()),
        bools=_is_in(of_type[bool], pa.bool_()),
        times=_is_in(map(microseconds, of_type[datetime]), pa.int64()),
    )


def prefix(text: str) -> ValueTest:
    """Whether a value is a string that begins with `text`."""
    return ValueTest(strings=partial(pc.starts_with, pattern=text))


def _compare(operator: Operator, value: Any, kind: pa.DataType) -> ArrayTest:
    kernel, scalar = _KERNELS[operator], pa.scalar(value, kind)
    return lambda array: kernel(array, scalar)


def _ints(operator: Operator, value: float) -> ArrayTest | None:
    """The comparison of ints with an int or a float."""
    bound = value
    if isinstance(bound, float):
        bound = max(-(2.0**64), min(bound, 2.0**64))
        if operator is Operator.EQUAL and not bound.is_integer():
            return None
        # x < 2.5 is x < 3, and x <= 2.5 is x <= 2
        up = operator in (Operator.LESS, Operator.GREATER_OR_EQUAL)
        bound = math.ceil(bound) if up else math.floor(bound)
    if _is_int64(bound):
        return _compare(operator, bound, pa.int64())
    if operator is Operator.EQUAL or (operator in _UPPER_BOUNDS) != (bound > 0):
        return None
    return _all


def _floats(operator: Operator, value: float) -> ArrayTest | None:
    """The comparison of floats with an int or a float."""
    bound = float(value)
    if bound != value:
        if operator is Operator.EQUAL:
            return None
        # the next float on the side of the numbers that meet the condition
        if operator in _UPPER_BOUNDS:
            bound = bound if bound < value else math.nextafter(bound, -math.inf)
            operator = Operator.LESS_OR_EQUAL
        else:
            bound = bound if bound > value else math.nextafter(bound, math.inf)
            operator = Operator.GREATER_OR_EQUAL
    return _compare(operator, bound, pa.float64())


def _all(array: pa.Array) -> pa.BooleanArray:
    return pc.is_valid(array)


def _is_in(values: Iterable[Any], kind: pa.DataType) -> ArrayTest | None:
    value_set = pa.array([*values], kind)
    if not len(value_set):
        return None
    return partial(pc.is_in, value_set=value_set, skip_nulls=True)


def _with_both_zeros(floats: set[float]) -> list[float]:
    """0.0 and -0.0 are equal, but not to `is_in`."""
    return [*floats, 0.0, -0.0] if 0.0 in floats else [*floats]


def _is_int64(number: float) -> bool:
    return MIN_INT <= number <= MAX_INT
