"""What is wrong with the segments of a data folder, held against what its store holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.index.ids import Ids
from euclidesdb_server.index.segment_folder import LABELS, MANIFEST, checksum, manifest_checksum


def check_segments(
    root: Path, alive: Mapping[int, Mapping[int, str]], deleted: Mapping[int, Set[int]]
) -> Iterator[tuple[Path, str]]:
    """Folders below `root` that cannot be used, and why. They can be deleted: all is in the store.

    alive: by space, the id of each label that an item has there. deleted: by space, the labels
    whose rows a segment may still hold.
    """
    for space in sorted(root.iterdir()) if root.is_dir() else []:
        if not space.name.isdecimal():
            yield space, "this is no folder of a space"
            continue
        number = int(space.name)
        for segment in sorted(space.iterdir()):
            if not segment.name.isdecimal():
                yield segment, "a build that was not finished"
                continue
            try:
                _check(segment, alive.get(number, {}), deleted.get(number, set()))
            except (OSError, ValueError, LookupError, TypeError) as error:
                yield segment, str(error) if type(error) is ValueError else repr(error)


def read_spaces(root: Path) -> dict[int, list[Any]]:
    """What manifests that are whole say of their spaces, as the store's records of them have it."""
    known: dict[int, list[Any]] = {}
    for file in sorted(root.glob(f"*/*/{MANIFEST}")):
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            if manifest.pop("crc32") == manifest_checksum(manifest):
                told = [manifest["model"], manifest["fingerprint"], manifest["dim"], False]
                known[manifest["space"]] = told
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # check_segments says so
    return known


def _check(segment: Path, alive: Mapping[int, str], deleted: Set[int]) -> None:
    """Raises ValueError, OSError, LookupError or TypeError for a segment that is not right."""
    manifest: dict[str, Any] = json.loads((segment / MANIFEST).read_text(encoding="utf-8"))
    if manifest.pop("crc32") != manifest_checksum(manifest):
        raise ValueError(f"{MANIFEST} fails its checksum")
    for name, told in manifest["files"].items():
        file = segment / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if file.stat().st_size != told["bytes"] or checksum(file) != told["crc32"]:
            raise ValueError(f"{name} fails its checksum")
    labels: list[int] = np.fromfile(segment / LABELS, "<i8").tolist()
    ids = Ids.load(segment).take(np.arange(len(labels)))
    if labels != sorted(set(labels)):
        raise ValueError(f"{LABELS} does not ascend")
    held = dict(zip(labels, ids, strict=True))
    for label, item_id in held.items():
        if label not in alive and label not in deleted:
            raise ValueError(
                f"label {label} (item {item_id!r}) is neither in the store nor deleted"
            )
        if label in alive and alive[label] != item_id:
            raise ValueError(
                f"label {label} is of item {item_id!r}, in the store of {alive[label]!r}"
            )
    for label, item_id in alive.items():
        if label <= manifest["up_to_label"] and label not in held:
            raise ValueError(f"it lacks label {label} (item {item_id!r}), which it should cover")
