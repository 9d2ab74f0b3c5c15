"""The listing of all that has a name: models, versions and broken folders, with their sizes.

It opens no space.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from euclidesdb_server.database.results import ModelStatus
from euclidesdb_server.database.serving import Serving, status_of
from euclidesdb_server.database.space_sizes import SpaceSizes
from euclidesdb_server.values.status import ModelState


def listed(
    servings: Collection[Serving], broken: Mapping[str, str], sizes: SpaceSizes | None
) -> tuple[ModelStatus, ...]:
    """The status of each serving and of each broken folder, by name.

    sizes: of the spaces; None: they take no room on disk, and rows of those that are not open are
    unknown.
    """
    statuses = [
        ModelStatus(name=name, state=ModelState.QUARANTINED, reason=reason)
        for name, reason in broken.items()
    ]
    unopened = [
        each.earlier
        for each in servings
        if each.earlier is not None and each.earlier.opened is None
    ]
    stored_rows = {} if sizes is None else sizes.rows(unopened)
    for serving in servings:
        status = sized_status(serving, sizes)
        if serving.earlier is not None and status.index is None:
            rows = stored_rows.get(serving.earlier.record.number)
            status = _with_rows(status, rows)
            if rows is None:
                statuses.append(status)
                continue
        # an empty space of an earlier version is of no interest
        if status.items or not serving.superseded:
            statuses.append(status)
    return tuple(sorted(statuses, key=lambda status: status.name))


def readiness(servings: Collection[Serving], broken: Mapping[str, str]) -> dict[str, bool]:
    """Whether each model embeds payloads now, by name; broken folders, which do not, by theirs."""
    ready = dict.fromkeys(broken, False)
    for serving in servings:
        if serving.model is not None:
            ready[serving.name] = serving.state[0] is ModelState.READY
    return ready


def sized_status(serving: Serving, sizes: SpaceSizes | None) -> ModelStatus:
    """The status of a serving, with the disk space that its vectors and indexes take."""
    status, record = status_of(serving), serving.record
    if sizes is None or record is None:
        return status
    return replace(status, disk_bytes=sizes.disk_bytes(record.number))


def _with_rows(status: ModelStatus, rows: int | None) -> ModelStatus:
    if rows is None:
        return replace(status, reason=f"{status.reason}; they are being counted")
    return replace(status, items=rows)
