"""`euclidesdb verify`: reads all of a data folder that no server has open, and can repair it.

A repair writes a new store of all that is good and puts it in the old one's place, which is
kept in `damaged-<time>`. Segments that cannot be used are deleted: the server builds them anew.
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
from euclidesdb_server.index.verify import check_segments, known_spaces
from euclidesdb_server.store.layout import SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.store.leveldb import REPAIRED
from euclidesdb_server.store.records import Records, repaired_copy, write_records
from euclidesdb_server.store.verify import StoreReport, as_json, check_store
from euclidesdb_server.system.fsync import sync


def run(options: argparse.Namespace) -> int:
    """Verify; returns 0 where all is well or has been repaired, 1 where it is not."""
    try:
        folder = configuration(options.config, data=options.data).database.db_path
        if not folder.is_dir():
            raise DataFolderError(f"{folder} is no data folder")
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
    aside = folder / time.strftime("damaged-%Y%m%dT%H%M%S")
    findings: list[str] = []
    spaces = known_spaces(folder / SEGMENTS_FOLDER)
    report = _read_store(store, spaces, findings, aside if repair else None)
    findings += report.findings
    segments = [*check_segments(folder / SEGMENTS_FOLDER, report.alive, report.deleted)]
    findings += [f"{path}: {why}" for path, why in segments]
    for finding in findings:
        print(finding)
    rows = sum(map(len, report.alive.values()))
    print(
        f"{report.items:,} items with {rows:,} vectors in {len(report.alive)} spaces: "
        + (f"{len(findings)} problems" if findings else "all is well")
    )
    if not findings or not repair:
        return 1 if findings else 0
    if len(findings) > len(segments):
        _replace(store, report, aside)
        print(f"the store is repaired; what it was, and what had to be left out, is in {aside}")
    for path, _ in segments:
        shutil.rmtree(path, ignore_errors=True)
    if segments:
        print(f"{len(segments)} segments deleted: the server builds them anew")
    return 0


def _read_store(
    store: Path, spaces: Mapping[int, list[Any]], findings: list[str], aside: Path | None
) -> StoreReport:
    """Check the store; where it cannot be opened, what LevelDB can make of a copy.

    spaces: what is known of them from segments. aside: where that copy may be made; None:
    nothing is to be written.
    """
    try:
        records = Records.open(store)
    except DataFolderError as error:
        if "a server has it open" in str(error) or not store.is_dir():
            raise
        findings.append(str(error))
        if aside is None:
            print("it cannot be read as it stands; --repair tries to, on a copy")
            return StoreReport()
        records = repaired_copy(store, aside / "copy")
    try:
        report = check_store(records, spaces)
    finally:
        records.close()
    findings += records.damage
    if report.format_version is None:
        findings.append(f"{store} has no record of its format: it may be of another program")
    if aside is not None:
        shutil.rmtree(aside / "copy", ignore_errors=True)
    return report


def _replace(store: Path, report: StoreReport, aside: Path) -> None:
    """Put a store of the good records in the place of the old one."""
    if report.format_version is None:
        raise DataFolderError("without the record of its format the store is left as it is")
    repaired = store.with_name(REPAIRED)
    shutil.rmtree(repaired, ignore_errors=True)
    write_records(repaired, report.good.items())
    aside.mkdir(exist_ok=True)
    _put_aside(aside / "records.jsonl", report.aside)
    # Between these two a server refuses to start, and the next repair goes on from here.
    store.rename(aside / STORE_FOLDER)
    sync(aside)
    repaired.rename(store)
    sync(store.parent)


def _finish_earlier_repair(store: Path) -> None:
    repaired = store.with_name(REPAIRED)
    if repaired.is_dir() and not store.exists():
        repaired.rename(store)
        sync(store.parent)
        print("an earlier repair was interrupted: it is finished now")


def _put_aside(file: Path, records: Iterable[tuple[bytes, bytes]]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for key, value in records:
            stream.write(json.dumps(as_json(key, value)) + "\n")
