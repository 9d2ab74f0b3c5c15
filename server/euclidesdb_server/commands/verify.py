"""`euclidesdb verify`: checks everything in the data folder of a stopped server, and can repair it.

A repair writes a new store with all records that are valid, and puts it in place of the old one,
which is kept in `damaged-<time>` together with the records that could not be kept. Segments that
cannot be used are deleted: the server rebuilds them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.errors import DataFolderError, StartupError, StorageError, disk_error
from euclidesdb_server.index.verify import check_segments, read_spaces
from euclidesdb_server.store.layout import SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.store.leveldb_folder import REPAIRED
from euclidesdb_server.store.records import RecordScan, StoreInUse, repaired_copy, write_records
from euclidesdb_server.store.verify import StoreReport, as_json, check_store
from euclidesdb_server.system.fsync import sync


def run(options: argparse.Namespace) -> int:
    """Verify; returns 0 if there is no problem or it has been repaired, otherwise 1."""
    try:
        folder = configuration(options.config, data=options.data).database.db_path
        if not folder.is_dir():
            raise DataFolderError(f"there is no data folder {folder}")
        return _verify(folder, repair=options.repair)
    except OSError as error:
        print(f"euclidesdb: {disk_error(error, 'verifying')}", file=sys.stderr)
    except (StartupError, StorageError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
    return 1


def _verify(folder: Path, *, repair: bool) -> int:
    store = folder / STORE_FOLDER
    if repair:
        _finish_earlier_repair(store)
    backup = folder / time.strftime("damaged-%Y%m%dT%H%M%S")
    findings: list[str] = []
    spaces = read_spaces(folder / SEGMENTS_FOLDER)
    report = _check_store(store, spaces, findings, backup if repair else None)
    findings += report.findings
    segments = [
        *check_segments(
            folder / SEGMENTS_FOLDER,
            report.live_labels,
            report.deleted_labels,
            report.dropped_spaces,
        )
    ]
    findings += [f"{path}: {reason}" for path, reason in segments]
    for finding in findings:
        print(finding)
    vectors = sum(map(len, report.live_labels.values()))
    print(
        f"{report.items:,} items with {vectors:,} vectors in {len(report.live_labels)} spaces: "
        + (f"{len(findings)} problems" if findings else "all is well")
    )
    if not findings or not repair:
        return 1 if findings else 0
    if len(findings) > len(segments):
        _replace_store(store, report, backup)
        print(
            "the store has been repaired; the old one, and the records that could not be kept, "
            f"are in {backup}"
        )
    for path, _ in segments:
        shutil.rmtree(path, ignore_errors=True)
    if segments:
        print(f"deleted {len(segments)} segments: the server rebuilds them")
    return 0


def _check_store(
    store: Path, spaces: Mapping[int, list[Any]], findings: list[str], backup: Path | None
) -> StoreReport:
    """Check the store; if it cannot be opened, check what LevelDB recovers from a copy.

    spaces: what the segments know of the spaces. findings: receives what cannot be read.
    backup: the folder in which the copy may be made; None: nothing may be written.
    """
    try:
        records = RecordScan.open(store)
    except StoreInUse:
        raise
    except DataFolderError as error:
        if not store.is_dir():
            raise
        findings.append(str(error))
        if backup is None:
            print("the store cannot be read; --repair tries to recover it from a copy")
            return StoreReport()
        records = repaired_copy(store, backup / "copy")
    try:
        report = check_store(records, spaces)
    finally:
        records.close()
    findings += records.damage
    if report.format_version is None:
        findings.append(f"{store} has no record of its format: another program may have made it")
    if backup is not None:
        shutil.rmtree(backup / "copy", ignore_errors=True)
    return report


def _replace_store(store: Path, report: StoreReport, backup: Path) -> None:
    """Write the repaired store and put it in place of the old one, which moves to `backup`."""
    if report.format_version is None:
        raise DataFolderError(f"{store} has no record of its format, so it is left unchanged")
    repaired = store.with_name(REPAIRED)
    shutil.rmtree(repaired, ignore_errors=True)
    write_records(repaired, report.repaired.items())
    backup.mkdir(exist_ok=True)
    _write_discarded(backup / "records.jsonl", report.discarded)
    # Between these two renames a server refuses to start, and the next repair continues here.
    store.rename(backup / STORE_FOLDER)
    sync(backup)
    repaired.rename(store)
    sync(store.parent)


def _finish_earlier_repair(store: Path) -> None:
    repaired = store.with_name(REPAIRED)
    if repaired.is_dir() and not store.exists():
        repaired.rename(store)
        sync(store.parent)
        print("finished an earlier repair that was interrupted")


def _write_discarded(file: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for key, value in records:
            stream.write(json.dumps(as_json(key, value)) + "\n")
