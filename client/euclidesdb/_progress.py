"""Reports of how far a bulk add is: a progress bar, or a function of the caller."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator, Sized
from contextlib import closing, contextmanager
from typing import Protocol, TypeAlias

Report: TypeAlias = Callable[[int, int], object]
"""Takes the number of items that are on disk or refused, and of those refused among them."""
Progress: TypeAlias = bool | Report


class _Bar(Protocol):
    """What is used of tqdm."""

    n: int

    def update(self, n: int) -> object: ...
    def set_postfix(self, *, refresh: bool, refused: int) -> object: ...
    def close(self) -> object: ...


@contextmanager
def reporting(progress: Progress, items: object) -> Generator[Report]:
    """What to report to. items: those to be added; their number is shown if it is known.

    Raises TypeError for something else than a bool or a function, and ImportError if a progress bar
    is wanted and tqdm is not installed.
    """
    if progress is False:
        yield _ignore
    elif progress is True:
        total = len(items) if isinstance(items, Sized) else None
        with closing(_tqdm(total=total, unit=" items", file=sys.stderr)) as bar:
            yield _shown_by(bar)
    elif callable(progress):
        yield progress
    else:
        raise TypeError(
            f"progress must be a bool or a function(done, refused), not {type(progress).__name__}: "
            f"{progress!r}"
        )


def _ignore(done: int, refused: int) -> None:
    """No report is wanted."""


def _shown_by(bar: _Bar) -> Report:
    def show(done: int, refused: int) -> None:
        if refused:
            bar.set_postfix(refused=refused, refresh=False)
        bar.update(done - bar.n)

    return show


def _tqdm(**options: object) -> _Bar:
    try:
        module = importlib.import_module("tqdm")
    except ImportError as error:
        raise ImportError(
            "progress=True shows a bar by tqdm, which is not installed: `pip install tqdm`, or "
            "give a function(done, refused)"
        ) from error
    bar: _Bar = module.tqdm(**options)
    return bar
