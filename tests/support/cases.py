"""Tables of cases that run as the subtests of one test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def each_as_subtest(
    names: str | tuple[str, ...], cases: Iterable[Any], *, ids: Any = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for each case in turn, like `pytest.mark.parametrize`, but as one test.

    Every case runs, and a failing one is reported under its own name. All cases share the
    fixtures of the test, so this is for tests that leave their fixtures as they were.

    names, cases, ids: as for `pytest.mark.parametrize`; ids: names or a function of a value.
    """
    fields = (names,) if isinstance(names, str) else names
    rows = [case if isinstance(names, tuple) else (case,) for case in cases]
    if callable(ids):
        labels = ["-".join(str(ids(value)) for value in row) for row in rows]
    elif ids is not None:
        labels = [*ids]
    else:
        labels = ["-".join(repr(value) for value in row)[:200] for row in rows]
    # half of a surrogate pair, which a case may have, cannot be encoded
    labels = [label.encode(errors="backslashreplace").decode() for label in labels]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        fixtures = [each for name, each in signature.parameters.items() if name not in fields]

        @functools.wraps(test)
        def run(*, subtests: pytest.Subtests, **arguments: Any) -> None:
            for label, row in zip(labels, rows, strict=True):
                with subtests.test(label):
                    test(**arguments, **dict(zip(fields, row, strict=True)))

        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in fixtures]
        subtests_parameter = inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY)
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*keywords, subtests_parameter]
        )
        del run.__wrapped__
        return run

    return decorate
