"""Verifies the segments of a data folder against the records of its store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.index.ids import Ids
from euclidesdb_server.index.segment_folder import LABELS, MANIFEST, checksum, manifest_checksum


def check_segments(
    root: Path,
    live_labels: Mapping[int, Mapping[int, str]],
    deleted_labels: Mapping[int, Set[int]],
    dropped_spaces: Set[int] = frozenset(),
) -> Iterator[tuple[Path, str]]:
    """The segments below `root` that cannot be used, each with the reason. All may be deleted.

    live_labels: by space, the item id of each label that has a vector there. deleted_labels: by
    space, the labels with a tombstone, whose rows a segment may still hold. dropped_spaces: the
    server deletes their segments, be they complete or not.
    """
    for space in sorted(root.iterdir()) if root.is_dir() else []:
        if not space.name.isdecimal():
            yield space, "not the folder of a space"
            continue
        number = int(space.name)
        if number in dropped_spaces:
            continue
        for segment in sorted(space.iterdir()):
            if not segment.name.isdecimal():
                yield segment, "an unfinished build"
                continue
            try:
                _check(segment, live_labels.get(number, {}), deleted_labels.get(number, set()))
            except (OSError, ValueError, LookupError, TypeError) as error:
                yield segment, str(error) if type(error) is ValueError else repr(error)


def read_spaces(root: Path) -> dict[int, list[Any]]:
    """The fields of the store's records of spaces, by number, as far as intact manifests show."""
    spaces: dict[int, list[Any]] = {}
    for file in sorted(root.glob(f"*/*/{MANIFEST}")):
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            if manifest.pop("crc32") == manifest_checksum(manifest):
                fields = [manifest["model"], manifest["fingerprint"], manifest["dim"], False]
                spaces[manifest["space"]] = fields
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # check_segments reports it
    return spaces


def _check(segment: Path, live_labels: Mapping[int, str], deleted_labels: Set[int]) -> None:
    """Raises ValueError, OSError, LookupError or TypeError if the segment cannot be used."""
    manifest: dict[str, Any] = json.loads((segment / MANIFEST).read_text(encoding="utf-8"))
    if manifest.pop("crc32") != manifest_checksum(manifest):
        raise ValueError(f"{MANIFEST} fails its checksum")
    for name, recorded in manifest["files"].items():
        file = segment / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if file.stat().st_size != recorded["bytes"] or checksum(file) != recorded["crc32"]:
            raise ValueError(f"{name} fails its checksum")
    labels: list[int] = np.fromfile(segment / LABELS, "<i8").tolist()
    ids = Ids.load(segment).take(np.arange(len(labels)))
    if labels != sorted(set(labels)):
        raise ValueError(f"{LABELS} is not in ascending order")
    rows = dict(zip(labels, ids, strict=True))
    for label, item_id in rows.items():
        if label not in live_labels and label not in deleted_labels:
            raise ValueError(
                f"label {label} (item {item_id!r}) is neither in the store nor deleted"
            )
        if label in live_labels and live_labels[label] != item_id:
            raise ValueError(
                f"label {label} belongs to item {item_id!r} here, "
                f"but to {live_labels[label]!r} in the store"
            )
    for label, item_id in live_labels.items():
        if label <= manifest["up_to_label"] and label not in rows:
            raise ValueError(f"it lacks label {label} (item {item_id!r}), which it should cover")
