"""Work on many threads with a progress bar, and lines printed between progress bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TextIO, TypeVar

from tqdm import tqdm

THREADS: Final = 32
"""As many as the largest batch: concurrent adds share the model's forward passes."""

Argument = TypeVar("Argument")


def from_many_threads(
    work: Callable[[Argument], object], arguments: Sequence[Argument], *, title: str
) -> None:
    """Call `work` for each argument, with a progress bar; stop at the first error."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="demo") as threads:
        done = threads.map(work, arguments)
        try:
            for _ in tqdm(
                done, desc=title, total=len(arguments), unit=" items", leave=False, disable=None
            ):
                pass
        finally:
            threads.shutdown(cancel_futures=True)


def report(step: str, text: str) -> None:
    """Print the result of a step."""
    print_line(f"  {step:<13} {text}")


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print a line; unlike print, this does not break a progress bar."""
    tqdm.write(text, file=file)
