"""How `euclidesdb update` changes many items: one after the other, each durably."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tqdm import tqdm

import euclidesdb
from euclidesdb_server.commands.confirmation import confirm
from euclidesdb_server.commands.printing import counted, json_text, print_json, printable

LISTED_ERRORS: Final = 100
"""With --json, all are listed."""


class Updating:
    """change: the arguments of `Client.update`."""

    def __init__(
        self, client: euclidesdb.Client, change: Mapping[str, Any], *, as_json: bool
    ) -> None:
        self._client = client
        self._change = change
        self._as_json = as_json

    def named(self, ids: Sequence[str], *, dry_run: bool) -> int:
        """Change the items with these ids; return the exit code."""
        if dry_run:
            found = self._client.get_many(ids)
            self._report(len(found), [_missing(each) for each in found.missing], dry_run=True)
            return 1 if found.missing else 0
        if len(ids) > 1:
            return self._each(dict.fromkeys(ids))
        (item_id,) = ids
        attributes = self._client.update(item_id, **self._change)
        if self._as_json:
            print_json({"id": item_id, "attributes": attributes})
        else:
            print(f"{printable(item_id)}  {json_text(attributes)}")
        return 0

    def matching(self, where: str, *, dry_run: bool, ask: bool) -> int:
        """Change the items that match now; return the exit code.

        Their ids are listed before the first is changed, as the change may change what matches.
        """
        if dry_run:
            self._report(self._client.count(where), [], dry_run=True)
            return 0
        ids = [item.id for item in self._client.items(where)]
        if ask:
            confirm(len(ids), "update", "updated")
        return self._each(ids, skip_missing=True)

    def _each(self, ids: Iterable[str], *, skip_missing: bool = False) -> int:
        """skip_missing: another client may have removed some meanwhile."""
        updated, errors = 0, list[dict[str, str]]()
        try:
            for item_id in tqdm([*ids], unit=" items", desc="updating", leave=False, disable=None):
                try:
                    self._client.update(item_id, **self._change)
                except euclidesdb.UnknownItem:
                    if not skip_missing:
                        errors.append(_missing(item_id))
                except euclidesdb.InvalidRequest as error:  # too large with the change
                    errors.append({"id": item_id, "reason": error.reason, "message": str(error)})
                else:
                    updated += 1
        except KeyboardInterrupt:
            self._report(updated, errors)
            print("stopped; to go on, run the same command", file=sys.stderr)
            return 130
        except euclidesdb.EuclidesDBError:
            self._report(updated, errors)
            raise
        self._report(updated, errors)
        return 1 if errors else 0

    def _report(
        self, updated: int, errors: Sequence[Mapping[str, str]], *, dry_run: bool = False
    ) -> None:
        if self._as_json:
            print_json({"updated": updated, "errors": errors, "dry_run": dry_run})
            return
        print(f"{counted(updated)} {'would be updated' if dry_run else 'updated'}")
        sys.stdout.flush()
        for each in errors[:LISTED_ERRORS]:
            print(f"euclidesdb: {printable(each['message'])}", file=sys.stderr)
        if len(errors) > LISTED_ERRORS:
            more = len(errors) - LISTED_ERRORS
            print(f"  and {more:,} more; --json lists them all", file=sys.stderr)


def _missing(item_id: str) -> dict[str, str]:
    message = f"there is no item {item_id!r}"
    return {"id": item_id, "reason": "unknown_item", "message": message}
