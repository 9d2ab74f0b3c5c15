"""How `euclidesdb add` adds: with a progress bar, until all is added or Ctrl-C stops it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final

from tqdm import tqdm

import euclidesdb
from euclidesdb_server.commands.add_sources import Given, Source
from euclidesdb_server.commands.change_text import change_counts, others
from euclidesdb_server.commands.printing import counted, print_json, printable

LOOKED_UP: Final = 512
"""Ids that are looked up at a time: which are stored already?"""
LISTED_ERRORS: Final = 100
"""With --json, all are listed."""
GO_ON: Final = "to go on, run the same command with --skip-existing"


class Adding:
    """One `euclidesdb add`. models: for each kind of item, those that embed it."""

    def __init__(
        self,
        client: euclidesdb.Client,
        models: Mapping[str, list[str]],
        *,
        id_prefix: str,
        attributes: Mapping[str, Any],
        skip_existing: bool,
    ) -> None:
        self._client = client
        self._models = models
        self._prefix = id_prefix
        self._attributes = attributes
        self._skip_existing = skip_existing
        self._ids: set[str] = set()
        self._skipped = 0
        self._incomplete = 0
        self._errors: list[dict[str, str]] = []
        self._stop_wanted = False

    def run(self, sources: Sequence[Source], *, as_json: bool) -> int:
        """Add everything and report it; return the exit code."""
        totals = [source.total for source in sources]
        total = None if None in totals else sum(each or 0 for each in totals)
        stopped, changes = "", euclidesdb.Changes()
        given = chain.from_iterable(source.items() for source in sources)
        with (
            self._stopped_by_ctrl_c(),
            tqdm(total=total, unit=" items", desc="adding", leave=False, disable=None) as bar,
        ):
            try:
                errors = self._client.add_many(self._new_items(given, bar))
                problems, changes = tuple(errors), errors.changes
            except euclidesdb.AddsInterrupted as error:
                problems = (*error.refused, *error.failed)
                changes = error.changes or changes
                stopped = str(error)
                if error.unknown:
                    stopped += f"; {len(error.unknown):,} more may be on disk or not"
        for each in problems:
            self._incomplete += isinstance(each, euclidesdb.Failed)
            self._failed(each.id, each.reason, str(each.error))
        self._report(changes, as_json=as_json)
        if self._stop_wanted:
            print(f"stopped; {GO_ON}", file=sys.stderr)
            return 130
        if stopped:
            print(f"euclidesdb: {printable(stopped)}; {GO_ON}", file=sys.stderr)
        return 1 if stopped or self._errors else 0

    def _new_items(self, given: Iterable[Given], bar: tqdm[Any]) -> Iterator[euclidesdb.NewItem]:
        remaining = iter(given)
        while not self._stop_wanted and (part := [*islice(remaining, LOOKED_UP)]):
            existing = self._existing(part) if self._skip_existing else ()
            for each in part:
                if self._stop_wanted:
                    return
                bar.update()
                item_id = self._prefix + each.id
                if each.error:
                    self._failed(each.id, "not_sent", each.error)
                elif item_id in self._ids:
                    self._failed(
                        item_id, "not_sent", "another item has the same id; see --id-prefix"
                    )
                elif item_id in existing:
                    self._skipped += 1
                else:
                    self._ids.add(item_id)
                    yield self._new_item(item_id, each)

    def _existing(self, part: Sequence[Given]) -> Iterable[str]:
        ids = [self._prefix + each.id for each in part if not each.error]
        return self._client.get_many(ids)

    def _new_item(self, item_id: str, given: Given) -> euclidesdb.NewItem:
        attributes = given.attributes
        if self._attributes:
            attributes = {**(attributes or {}), **self._attributes}
        raw = {given.kind: given.value}
        return euclidesdb.NewItem(
            item_id, models=self._models[given.kind], attributes=attributes, **raw
        )

    def _failed(self, item_id: str, reason: str, message: str) -> None:
        self._errors.append({"id": item_id, "reason": reason, "message": message})

    def _report(self, changes: euclidesdb.Changes, *, as_json: bool) -> None:
        """changes: of the items that are on disk."""
        if as_json:
            counts = {**change_counts(changes), "incomplete": self._incomplete}
            failed_count = len(self._errors) - self._incomplete
            counts |= {"skipped": self._skipped, "failed": failed_count}
            print_json({**counts, "errors": self._errors})
            return
        lacking = f", {self._incomplete:,} on which models failed" if self._incomplete else ""
        skipped = f", {self._skipped:,} stored already and skipped" if self._skipped else ""
        count = len(self._errors) - self._incomplete
        failed = f", {count:,} could not be added" if count else ""
        print(f"{counted(changes.added)} added{others(changes)}{lacking}{skipped}{failed}")
        sys.stdout.flush()
        for each in self._errors[:LISTED_ERRORS]:
            print(printable(f"  {each['id']}: {each['message']}"), file=sys.stderr)
        if len(self._errors) > LISTED_ERRORS:
            more = len(self._errors) - LISTED_ERRORS
            print(f"  and {more:,} more; --json lists them all", file=sys.stderr)

    @contextmanager
    def _stopped_by_ctrl_c(self) -> Iterator[None]:
        """Ctrl-C ends the input; what has been sent is waited for. A second one ends at once."""

        def stop(*_: object) -> None:
            if self._stop_wanted:
                raise KeyboardInterrupt
            self._stop_wanted = True
            # print might be in the middle of another line
            os.write(2, b"\nstopping after what has been sent (Ctrl-C again: at once)\n")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
