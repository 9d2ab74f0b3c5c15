"""The tour of `euclidesdb demo`: add, search, remove, crash, restart, picture.

Every statement that it prints has just been checked. The first check that fails ends the tour with
exit code 1 and a message.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import euclidesdb
from euclidesdb_server.demo.digits import TO_ADD, Digit, Split, split_digits
from euclidesdb_server.demo.picture import PictureRow, draw_picture
from euclidesdb_server.demo.progress import THREADS, from_many_threads, print_line, report
from euclidesdb_server.demo.server_process import ServerFailed, ServerProcess

MODEL = "digits"
MIN_ITEMS = 100
TOP_K = 5
# This model reaches 0.966 with 100 items and 0.991 with 1,500.
MIN_PRECISION = 0.95
# An image's features depend in their last bits on the batch that it was embedded in.
DISTANCE_TOLERANCE = 1e-3

OWN_MODEL = """
To serve your own model, put a TorchScript program that maps a batch of images to
(predictions, features) and this model.conf into a folder, such as models/mine:

    [model]
    name = mine
    filename = mine.pt
    prediction_dim = 1000
    feature_dim = 512
    image_size = 224

and run  euclidesdb serve --models models"""

Answer = euclidesdb.Neighbors


class CheckFailed(Exception):
    """The database did not do what it promises."""


@dataclass(frozen=True, slots=True)
class _Searches:
    """The results for the held-out digits, in order, and the seconds that each search took."""

    answers: tuple[Answer, ...]
    seconds: tuple[float, ...]


def run(*, output: Path, items: int = TO_ADD, keep_data: Path | None = None) -> int:
    """Run the tour; return the exit code of `euclidesdb demo`.

    output: the file for the picture.
    items: the number of digits to add, 100 to 1,500.
    keep_data: an empty or new folder for the server's data and log; None: a temporary one.
    """
    try:
        _check_options(output, items, keep_data)
        with _folder(keep_data) as folder:
            server = ServerProcess(data=folder / "data", log=folder / "server.log")
            with server:
                _tour(server, output, items)
    except (CheckFailed, ServerFailed, OSError) as error:
        print_line(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    if keep_data is not None:
        print_line(f"\nThe data is in {keep_data / 'data'}, the server's log in {keep_data}.")
    print_line(OWN_MODEL)
    return 0


def _tour(server: ServerProcess, output: Path, items: int) -> None:
    split = split_digits()
    added = split.added[:items]
    took = server.start()
    try:
        with euclidesdb.Client(server.address, tls=False, api_key="") as database:
            info = _served_model(database)
            report(
                "server",
                f"ready in {took:.1f} s at {server.address}, "
                f"model {info.name!r} with {info.feature_dim} features",
            )
            _add(database, added)
            before = _search(database, split.held_out)
            _judge(before, split)
            removed = added[0]
            _remove(database, removed)
        server.kill()
        took = server.start()
        with euclidesdb.Client(server.address, tls=False, api_key="") as database:
            _verify_items(database, added, removed, took)
            after = _search(database, split.held_out)
            _verify_answers(before.answers, after.answers, removed)
    except euclidesdb.EuclidesDBError as error:
        raise server.failure(f"{type(error).__name__}: {error}") from error
    _draw(after.answers, split, output, items=len(added) - 1)
    server.stop()


def _check_options(output: Path, items: int, keep_data: Path | None) -> None:
    if not MIN_ITEMS <= items <= TO_ADD:
        raise CheckFailed(f"--items must be {MIN_ITEMS} to {TO_ADD}, not {items}")
    if not output.parent.is_dir():
        raise CheckFailed(f"--output {output}: the folder {output.parent} does not exist")
    if keep_data is not None and keep_data.exists() and any(keep_data.iterdir()):
        raise CheckFailed(f"--keep-data {keep_data} is not empty; name a new folder")


@contextmanager
def _folder(keep_data: Path | None) -> Iterator[Path]:
    if keep_data is not None:
        keep_data.mkdir(parents=True, exist_ok=True)
        yield keep_data
        return
    with tempfile.TemporaryDirectory(prefix="euclidesdb-demo-") as folder:
        yield Path(folder)


def _served_model(database: euclidesdb.Client) -> euclidesdb.ModelInfo:
    for info in database.models():
        if info.name == MODEL and info.state == "ready":
            return info
        if info.name == MODEL:
            raise CheckFailed(f"the model {MODEL!r} is {info.state}: {info.reason}")
    raise CheckFailed(f"the server does not serve the model {MODEL!r}")


def _add(database: euclidesdb.Client, digits: Sequence[Digit]) -> None:
    def add(digit: Digit) -> None:
        database.add(digit.id, image=digit.png, models=[MODEL], attributes=_attributes(digit))

    started = time.perf_counter()
    from_many_threads(add, digits, title="adding")
    seconds = time.perf_counter() - started
    stored = _served_model(database).items
    _check(stored == len(digits), f"{len(digits)} items were added, but the server has {stored}")
    report(
        "add",
        f"{len(digits):,} digits in {seconds:.1f} s: {len(digits) / seconds:,.0f} items/s "
        f"from {THREADS} threads",
    )


def _search(database: euclidesdb.Client, digits: Sequence[Digit]) -> _Searches:
    answers, seconds = [], []
    for digit in tqdm(digits, desc="searching", unit=" searches", leave=False, disable=None):
        started = time.perf_counter()
        answers.append(_find(database, digit))
        seconds.append(time.perf_counter() - started)
    return _Searches(tuple(answers), tuple(seconds))


def _find(database: euclidesdb.Client, digit: Digit) -> Answer:
    answer = database.find_similar(image=digit.png, models=[MODEL], top_k=TOP_K)[MODEL]
    _check(len(set(answer.ids)) == TOP_K, f"top_k={TOP_K} returned {answer.ids}")
    return answer


def _judge(searches: _Searches, split: Split) -> None:
    labels = {digit.id: digit.label for digit in split.added}
    same_class = [
        labels[id] == digit.label
        for digit, answer in zip(split.held_out, searches.answers, strict=True)
        for id in answer.ids  # noqa: A001  the API's name for it
    ]
    precision = float(np.mean(same_class))
    _check(
        precision >= MIN_PRECISION,
        f"precision@{TOP_K} is {precision:.3f}, below {MIN_PRECISION}",
    )
    p50, p99 = np.percentile(searches.seconds, (50, 99)) * 1000
    report(
        "search",
        f"{len(split.held_out)} digits that the model has never seen: precision@{TOP_K} "
        f"{precision:.3f}, latency p50 {p50:.1f} ms, p99 {p99:.1f} ms",
    )


def _remove(database: euclidesdb.Client, digit: Digit) -> None:
    nearest = next(iter(_find(database, digit)))
    _check(
        nearest.id == digit.id and nearest.distance < DISTANCE_TOLERANCE,
        f"a search with the image of {digit.id} found {nearest.id} at {nearest.distance:.4f}",
    )
    database.remove(digit.id)
    _check_gone(database, digit)
    report(
        "remove",
        f"{digit.id} was nearest to its own image; now that it is removed, others are",
    )


def _check_gone(database: euclidesdb.Client, digit: Digit) -> None:
    answer = _find(database, digit)
    _check(digit.id not in answer.ids, f"{digit.id} was removed but is still found: {answer.ids}")
    try:
        database.get(digit.id)
    except euclidesdb.UnknownItem:
        return
    raise CheckFailed(f"{digit.id} was removed but can still be read")


def _verify_items(
    database: euclidesdb.Client, added: Sequence[Digit], removed: Digit, seconds: float
) -> None:
    def verify(digit: Digit) -> None:
        try:
            item = database.get(digit.id, include_payload=True)
        except euclidesdb.UnknownItem as error:
            raise CheckFailed(f"{digit.id} was acknowledged but is lost") from error
        _check(
            item.models == (MODEL,)
            and item.attributes == _attributes(digit)
            and item.image == digit.png,
            f"{digit.id} has changed: {item.models} {item.attributes}",
        )

    kept = [digit for digit in added if digit is not removed]
    from_many_threads(verify, kept, title="verifying")
    _check_gone(database, removed)
    stored = _served_model(database).items
    _check(stored == len(kept), f"the server has {stored} items instead of {len(kept)}")
    report(
        "kill -9",
        f"ready again {seconds:.1f} s after the restart: all {len(kept):,} items are there, and "
        f"{removed.id} is not",
    )


def _verify_answers(before: Sequence[Answer], after: Sequence[Answer], removed: Digit) -> None:
    for old, new in zip(before, after, strict=True):
        _check(removed.id not in new.ids, f"{removed.id} was removed but is back in {new.ids}")
        expected = [each.distance for each in old if each.id != removed.id]
        _check(
            np.allclose(new.distances[: len(expected)], expected, atol=DISTANCE_TOLERANCE),
            f"a result changed over the restart: {old.ids} became {new.ids}",
        )
    report("search again", f"all {len(after)} searches return the same results as before the crash")


def _draw(answers: Sequence[Answer], split: Split, output: Path, *, items: int) -> None:
    digits = {digit.id: digit for digit in split.added}
    rows: dict[int, PictureRow] = {}
    for query, answer in zip(split.held_out, answers, strict=True):
        neighbors = tuple((digits[each.id], each.distance) for each in answer)
        rows.setdefault(query.label, PictureRow(query, neighbors))
    draw_picture(
        [rows[label] for label in sorted(rows)],
        title="Which digits are most similar to this one?",
        subtitle=f"The {TOP_K} nearest of {items:,} to a digit that the model has never seen. "
        "Green: same class. Red: another class.",
    ).save(output, format="PNG")
    report("picture", str(output))


def _attributes(digit: Digit) -> dict[str, int | str]:
    return {"digit": digit.label, "split": "train"}


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CheckFailed(otherwise)
